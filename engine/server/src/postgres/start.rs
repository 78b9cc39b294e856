//! The beginning of a connection: what it wants, which version it speaks, and to which database it goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use runlake::query::postgres::DATABASE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;

use super::Door;
use super::cancels::Cancellable;
use super::connection_settings::ConnectionSettings;
use super::errors::PgError;
use super::frames::START_BYTES;
use super::messages::{Outgoing, Transaction};

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
/// How often a client may ask for encryption before it has to begin.
const REQUESTS: usize = 4;

/// A connection whose session can begin.
pub(super) struct Started {
    pub(super) incoming: OwnedReadHalf,
    pub(super) outgoing: Outgoing,
    pub(super) settings: ConnectionSettings,
    pub(super) cancellable: Cancellable,
    /// Where the client is: all connections of a machine are one caller.
    pub(super) peer: String,
}

/// Reads what a client says first. `None` when there is nothing more to do.
pub(super) async fn negotiate(mut stream: TcpStream, door: &Arc<Door>) -> Option<Started> {
    for _ in 0..REQUESTS {
        let packet = match packet(&mut stream).await {
            Ok(packet) => packet?,
            Err(error) => {
                refuse(stream, &error).await;
                return None;
            }
        };
        let (code, rest) = packet.split_first_chunk::<4>()?;
        match u32::from_be_bytes(*code) {
            // No encryption is offered; the client goes on without it, or goes away.
            SSL | GSS => stream.write_all(b"N").await.ok()?,
            CANCEL => {
                if let Some((process, secret)) = rest.split_first_chunk::<4>()
                    && let Ok(secret) = <[u8; 4]>::try_from(secret)
                {
                    door.cancels.cancel(i32::from_be_bytes(*process), i32::from_be_bytes(secret));
                }
                return None;
            }
            version => {
                return match begin(version, &Bytes::copy_from_slice(rest)) {
                    Ok(beginning) => Some(accept(stream, beginning, door).await?),
                    Err(error) => {
                        refuse(stream, &error).await;
                        None
                    }
                };
            }
        }
    }
    None
}

async fn packet(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, PgError> {
    let Ok(length) = stream.read_i32().await else { return Ok(None) };
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    match length {
        Some(length) if (4..=START_BYTES).contains(&length) => {
            let mut packet = vec![0; length];
            Ok(stream.read_exact(&mut packet).await.is_ok().then_some(packet))
        }
        _ => Err(PgError::protocol("this is no beginning of a PostgreSQL session")),
    }
}

async fn refuse(stream: TcpStream, error: &PgError) {
    let (_, half) = stream.into_split();
    let mut outgoing = Outgoing::new(half);
    outgoing.error(error);
    let _ = outgoing.send(Instant::now() + std::time::Duration::from_secs(1)).await;
}

/// What a client began with.
#[derive(Debug, PartialEq, Eq)]
struct Beginning {
    newer: bool,
    unknown_options: Vec<String>,
    parameters: BTreeMap<String, String>,
}

fn begin(version: u32, rest: &[u8]) -> Result<Beginning, PgError> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        return Err(PgError::fatal("0A000", format!("protocol {major}.{minor} is not spoken here: 3.0 is")));
    }
    let mut parameters = BTreeMap::new();
    let mut unknown_options = Vec::new();
    let text = rest.strip_suffix(&[0]).ok_or_else(|| PgError::protocol("the beginning does not end"))?;
    let mut words = text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    while let Some(name) = words.next() {
        if name.is_empty() {
            break;
        }
        let value = words.next().ok_or_else(|| PgError::protocol("a parameter has no value"))?;
        if name.starts_with("_pq_.") {
            unknown_options.push(name);
        } else {
            parameters.insert(name, value);
        }
    }
    if !parameters.contains_key("user") {
        return Err(PgError::fatal("28000", "no user was given"));
    }
    if parameters
        .get("replication")
        .is_some_and(|value| !matches!(value.as_str(), "false" | "off" | "0" | "no"))
    {
        return Err(PgError::fatal("0A000", "replication is not offered"));
    }
    if let Some(named) = parameters.get("database").filter(|named| named.as_str() != DATABASE) {
        let error = PgError::fatal("3D000", format!("database \"{named}\" does not exist"));
        return Err(
            error.with_hint(format!("The database is \"{DATABASE}\"; each project is a schema in it."))
        );
    }
    Ok(Beginning { newer: minor > 0, unknown_options, parameters })
}

async fn accept(stream: TcpStream, beginning: Beginning, door: &Arc<Door>) -> Option<Started> {
    let peer = stream.peer_addr().map_or_else(|_| String::new(), |address| address.ip().to_string());
    let (incoming, half) = stream.into_split();
    let mut outgoing = Outgoing::new(half);
    let deadline = Instant::now() + door.shared.config.header_deadline;
    let settings = match ConnectionSettings::new(&beginning.parameters) {
        Ok(settings) => settings,
        Err(error) => {
            outgoing.error(&PgError { fatal: true, ..error });
            let _ = outgoing.send(deadline).await;
            return None;
        }
    };
    if beginning.newer || !beginning.unknown_options.is_empty() {
        let unknown: Vec<&str> = beginning.unknown_options.iter().map(String::as_str).collect();
        outgoing.negotiate_version(&unknown);
    }
    let cancellable = door.cancels.register();
    outgoing.authentication_ok();
    for (name, value) in settings.reported() {
        outgoing.parameter_status(name, &value);
    }
    outgoing.key(cancellable.process, cancellable.secret);
    outgoing.ready(Transaction::None);
    outgoing.send(deadline).await.ok()?;
    Some(Started { incoming, outgoing, settings, cancellable, peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: u32 = 3 << 16;

    #[test]
    fn only_our_database_is_there() {
        let beginning = begin(VERSION, b"user\0me\0database\0runlake\0application_name\0psql\0\0").unwrap();
        assert_eq!(beginning.parameters["application_name"], "psql");
        assert_eq!(begin(VERSION, b"user\0me\0database\0postgres\0\0").unwrap_err().code, "3D000");
        assert!(begin(VERSION, b"user\0me\0\0").is_ok(), "no database means ours");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(begin(2 << 16, b"\0").unwrap_err().code, "0A000");
        for wrong in [&b""[..], b"user\0me", b"user", b"\0", b"database\0runlake\0\0"] {
            assert!(begin(VERSION, wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(begin(VERSION, b"user\0me\0replication\0true\0\0").unwrap_err().code, "0A000");
        let newer = begin(VERSION | 2, b"user\0me\0_pq_.x\0y\0\0").unwrap();
        assert!(newer.newer);
        assert_eq!(newer.unknown_options, ["_pq_.x"]);
    }
}
