//! A server that runs out of file descriptors goes on when it has some again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use server::ServerConfig;

use crate::Running;

const DESCRIPTORS: usize = 40;

/// Runs only as a child of the test below, with few descriptors: serves until its input ends.
#[tokio::test]
#[ignore = "a child of the test below"]
async fn serve_with_few_descriptors() {
    let running = Running::start(ServerConfig::default()).await;
    println!("\nlistening {}", running.address);
    std::io::stdout().flush().unwrap();
    let input = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(input).await.unwrap().unwrap();
    running.stop().await.unwrap();
}

#[test]
#[cfg(unix)]
fn running_out_of_descriptors_is_survived() {
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "ulimit -n {DESCRIPTORS} && exec {binary:?} --ignored --exact --nocapture descriptors::serve_with_few_descriptors"
    );
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .find_map(|line| line.unwrap().strip_prefix("listening ").map(|text| text.parse().unwrap()))
        .expect("the child says where it listens");
    // The system accepts what the server cannot, so that all of these connect.
    let held: Vec<TcpStream> = (0..2 * DESCRIPTORS).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(held);
    let text = healthz_and_metrics(address);
    let errors: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("runlake_accept_errors_total ")?.parse().ok())
        .expect("metrics");
    assert!(errors > 0, "the descriptors never ran out, so nothing was tested");
    drop(child.stdin.take());
    drop(lines);
    let _ = child.kill();
    child.wait().unwrap();
}

fn healthz_and_metrics(address: SocketAddr) -> String {
    for _ in 0..200 {
        let mut text = String::new();
        for path in ["/healthz", "/metrics"] {
            let Ok(mut stream) = TcpStream::connect(address) else { continue };
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_string(&mut text);
        }
        if text.contains("runlake_accept_errors_total") && text.contains("\r\n\r\nok\n") {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the server never answered again");
}
