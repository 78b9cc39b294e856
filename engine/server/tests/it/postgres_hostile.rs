//! Bytes that no driver sends: the server says why, or closes, and serves the next one.

use std::net::SocketAddr;
use std::time::Duration;

use server::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Running, soon};

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = (rest.len() as u32 + 8).to_be_bytes().to_vec();
    packet.extend(code.to_be_bytes());
    packet.extend(rest);
    packet
}

fn message(letter: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![letter];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

fn start() -> Vec<u8> {
    packet(3 << 16, b"user\0me\0database\0runlake\0\0")
}

/// What the server sends until it closes or says nothing more for a while.
async fn talk(address: SocketAddr, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have closed before all of it was sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    loop {
        match tokio::time::timeout(Duration::from_millis(300), stream.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => return (answer, true),
            Ok(Ok(count)) => answer.extend(&part[..count]),
            Err(_) => return (answer, false),
        }
    }
}

fn contains(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|part| part == text.as_bytes())
}

async fn still_serves(running: &Running) {
    let bytes = [start(), message(b'Q', b"rows 1\0")].concat();
    let (answer, _) = talk(running.postgres, &bytes).await;
    assert!(contains(&answer, "SELECT 1"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_garbled_beginning_is_refused() {
    let running = Running::start(ServerConfig::default()).await;
    for (bytes, says) in [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "08P01"),
        (vec![0xff; 64], "08P01"),
        (vec![0; 64], "08P01"),
        (vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0], "08P01"),
        (packet(2 << 16, b"user\0me\0\0"), "0A000"),
        (packet(3 << 16, b"user\0me\0database\0other\0\0"), "3D000"),
        (packet(3 << 16, b"database\0runlake\0\0"), "28000"),
        (packet(3 << 16, b"user\0me"), "08P01"),
        (packet(3 << 16, b"user\0me\0options\0-z\0\0"), "42601"),
        (packet(3 << 16, b"user\0me\0client_encoding\0LATIN1\0\0"), "22023"),
    ] {
        let (answer, closed) = talk(running.postgres, &bytes).await;
        assert!(closed && contains(&answer, says), "{bytes:?}: {}", String::from_utf8_lossy(&answer));
    }
    // Encryption is declined, and asking for it again and again is no way to stay.
    let (answer, closed) = talk(running.postgres, &packet(80_877_103, b"").repeat(20)).await;
    assert!(closed && answer.iter().all(|byte| *byte == b'N') && answer.len() < 10, "{answer:?}");
    let (answer, _) = talk(running.postgres, &[packet(80_877_103, b""), start()].concat()).await;
    assert!(answer.starts_with(b"NR"), "{answer:?}");
    // A newer minor version is told which one is spoken.
    let (answer, _) = talk(running.postgres, &packet(3 << 16 | 2, b"user\0me\0_pq_.x\0y\0\0")).await;
    assert!(answer.starts_with(b"v") && contains(&answer, "_pq_.x"), "{answer:?}");
    still_serves(&running).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn who_does_not_begin_is_let_go() {
    let config = ServerConfig { header_deadline: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    for bytes in [&b""[..], &start()[..7], &start()[..20]] {
        let mut stream = TcpStream::connect(running.postgres).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty());
    }
    still_serves(&running).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn lengths_that_cannot_be_true_close_the_connection_before_they_cost_memory() {
    let running = Running::start(ServerConfig::default()).await;
    for length in [0_u32, 3, 5 << 20, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut bytes = start();
        bytes.push(b'Q');
        bytes.extend(length.to_be_bytes());
        let (answer, closed) = talk(running.postgres, &bytes).await;
        assert!(closed && contains(&answer, "08P01"), "{length}: {}", String::from_utf8_lossy(&answer));
    }
    still_serves(&running).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn messages_that_lie_about_their_parts_are_refused() {
    let running = Running::start(ServerConfig::default()).await;
    for bytes in [
        message(b'P', b"\0\0\xff\xff"),
        message(b'B', b"\0\0\0\x01"),
        message(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        message(b'B', b"\0\0\0\0\0\x01\x80\0\0\0"),
        message(b'D', b"X\0"),
        message(b'E', b"\0"),
        message(b'Q', b"no end"),
        message(b'Q', b"rows 1\0more"),
        message(b'Q', b"\xff\xfe\0"),
        message(b'S', b"x"),
        message(b'p', b"password\0"),
        message(b'!', b""),
    ] {
        let (answer, closed) = talk(running.postgres, &[start(), bytes.clone()].concat()).await;
        let says = contains(&answer, "08P01") || contains(&answer, "22021");
        assert!(closed && says, "{bytes:?}: {}", String::from_utf8_lossy(&answer));
    }
    still_serves(&running).await;
    assert!(crate::http::get(running.address, "/metrics").await.contains("runlake_panics_total 0\n"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn half_a_message_is_waited_for_no_longer_than_it_may_take() {
    let config = ServerConfig { body_idle: Duration::from_millis(200), ..ServerConfig::default() };
    let running = Running::start(config).await;
    let whole = message(b'Q', b"rows 1\0");
    let mut stream = TcpStream::connect(running.postgres).await.unwrap();
    stream.write_all(&[start(), whole[..6].to_vec()].concat()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(contains(&answer, "08P01"), "{}", String::from_utf8_lossy(&answer));
    // Between messages a client may take its time.
    let mut stream = TcpStream::connect(running.postgres).await.unwrap();
    stream.write_all(&start()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stream.write_all(&whole).await.unwrap();
    stream.write_all(&message(b'X', b"")).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(contains(&answer, "SELECT 1"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn messages_out_of_order_are_answered_and_the_session_goes_on() {
    let running = Running::start(ServerConfig::default()).await;
    for (bytes, says) in [
        (message(b'E', b"none\0\0\0\0\0"), "34000"),
        (message(b'B', b"\0none\0\0\0\0\0\0\0"), "26000"),
        (message(b'D', b"Snone\0"), "26000"),
        (message(b'P', b"\0rows 1; rows 2\0\0\0"), "42601"),
        (message(b'F', b"\0\0\0\0"), "0A000"),
        (message(b'P', b"\0COPY runs FROM '/etc/passwd'\0\0\0"), "1"),
    ] {
        let bytes = [start(), bytes, message(b'S', b""), message(b'Q', b"rows 1\0")].concat();
        let (answer, closed) = talk(running.postgres, &bytes).await;
        assert!(!closed && contains(&answer, says), "{says}: {}", String::from_utf8_lossy(&answer));
        assert!(contains(&answer, "SELECT 1"), "{says}: {}", String::from_utf8_lossy(&answer));
    }
    // What comes after an error is left out until Sync; data of a COPY that is none is ignored.
    let bytes = [
        start(),
        message(b'd', b"data"),
        message(b'c', b""),
        message(b'P', b"\0wrong\0\0\0"),
        message(b'D', b"S\0"),
        message(b'P', b"late\0rows 3\0\0\0"),
        message(b'S', b""),
        message(b'D', b"Slate\0"),
        message(b'S', b""),
    ]
    .concat();
    let (answer, _) = talk(running.postgres, &bytes).await;
    assert!(contains(&answer, "42601") && contains(&answer, "26000"), "{}", String::from_utf8_lossy(&answer));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn there_are_no_more_sessions_than_places() {
    let config = ServerConfig { connections_per_address: 2, ..ServerConfig::default() };
    let running = Running::start(config).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.postgres).await.unwrap();
        stream.write_all(&start()).await.unwrap();
        let mut first = [0];
        soon(stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"R");
        held.push(stream);
    }
    let (answer, closed) = talk(running.postgres, &start()).await;
    assert!(closed && answer.is_empty(), "{answer:?}");
    held.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    still_serves(&running).await;
    drop(held);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn random_bytes_never_end_the_server() {
    let running = Running::start(ServerConfig::default()).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut bytes = if round % 2 == 0 { start() } else { Vec::new() };
        for _ in 0..(round % 50) + 1 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [letter, length, body, ..] = state.to_be_bytes();
            if round % 3 == 0 {
                bytes.extend(state.to_be_bytes());
            } else {
                let letters = b"QPBDECHSdcfFX";
                let letter = letters[usize::from(letter) % letters.len()];
                bytes.extend(message(letter, &vec![body; usize::from(length) % 20]));
            }
        }
        let mut stream = TcpStream::connect(running.postgres).await.unwrap();
        let _ = stream.write_all(&bytes).await;
    }
    still_serves(&running).await;
    assert!(crate::http::get(running.address, "/metrics").await.contains("runlake_panics_total 0\n"));
    running.stop().await.unwrap();
}
