//! What clients say: messages cut out of the stream of bytes, each bounded before it is read, and read with every length
//! checked.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OwnedSemaphorePermit;

use super::errors::PgError;
use crate::grpc::Shared;

/// Bytes of a message that need no place of their own among those of all requests.
const SMALL: usize = 16 << 10;
/// Largest packet before a session begins.
pub(super) const START_BYTES: usize = 10_000;

/// A message of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind {
        portal: String,
        statement: String,
        formats: Vec<i16>,
        values: Vec<Option<Bytes>>,
        results: Vec<i16>,
    },
    Describe(Target),
    Execute {
        portal: String,
        most: u32,
    },
    Close(Target),
    Flush,
    Sync,
    Terminate,
    /// Messages of COPY, which are ignored when there is none, as PostgreSQL does.
    Copy,
    FunctionCall,
}

/// What is described or closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// A message with its place among the bytes of all requests.
pub(super) struct Framed {
    pub(super) message: Incoming,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// Reads the next message; `None` at the end of the stream.
pub(super) async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    shared: &Shared,
) -> Result<Option<Framed>, PgError> {
    let config = &shared.config;
    let mut letter = [0];
    match stream.read(&mut letter).await {
        Ok(0) | Err(_) => return Ok(None),
        Ok(_) => {}
    }
    // A message that has begun has to come.
    let idle = config.body_idle;
    let broken = |_: io::Error| PgError::protocol("the connection broke within a message");
    let slow = |_| PgError::protocol("a message did not come in time");
    let length = tokio::time::timeout(idle, stream.read_i32()).await.map_err(slow)?.map_err(broken)?;
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let Some(length) = length else { return Err(PgError::protocol("the length of a message is wrong")) };
    if length > config.message_bytes {
        let limit = config.message_bytes;
        return Err(PgError::protocol(format!("a message has {length} bytes, at most {limit} are taken")));
    }
    let place = if length > SMALL {
        let place = shared.message_place(length).await;
        Some(place.map_err(|error| PgError { fatal: true, ..PgError::of(&error, "", 0) })?)
    } else {
        None
    };
    let mut body = BytesMut::with_capacity(length.min(SMALL));
    while body.len() < length {
        let mut rest = (&mut *stream).take((length - body.len()) as u64);
        let count =
            tokio::time::timeout(idle, rest.read_buf(&mut body)).await.map_err(slow)?.map_err(broken)?;
        if count == 0 {
            return Err(PgError::protocol("the connection ended within a message"));
        }
    }
    let message = read(letter[0], body.freeze())?;
    Ok(Some(Framed { message, _place: place }))
}

fn read(letter: u8, body: Bytes) -> Result<Incoming, PgError> {
    let mut body = Body(body);
    let message = match letter {
        b'Q' => Incoming::Query(body.text()?),
        b'P' => {
            let (name, sql) = (body.text()?, body.text()?);
            let count = body.count(4)?;
            let types = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
            Incoming::Parse { name, sql, types }
        }
        b'B' => {
            let (portal, statement) = (body.text()?, body.text()?);
            let count = body.count(2)?;
            let formats = (0..count).map(|_| body.i16()).collect::<Result<_, _>>()?;
            let count = body.count(4)?;
            let values = (0..count).map(|_| body.value()).collect::<Result<_, _>>()?;
            let count = body.count(2)?;
            let results = (0..count).map(|_| body.i16()).collect::<Result<_, _>>()?;
            Incoming::Bind { portal, statement, formats, values, results }
        }
        b'D' => Incoming::Describe(body.target()?),
        b'C' => Incoming::Close(body.target()?),
        b'E' => {
            let portal = body.text()?;
            // 0 and less mean all.
            let most = u32::try_from(body.u32()?.cast_signed()).unwrap_or(0);
            Incoming::Execute { portal, most }
        }
        b'H' => Incoming::Flush,
        b'S' => Incoming::Sync,
        b'X' => Incoming::Terminate,
        b'd' | b'c' | b'f' => return Ok(Incoming::Copy),
        b'F' => return Ok(Incoming::FunctionCall),
        // Nobody asked for a password.
        b'p' => return Err(PgError::protocol("a password came that was not asked for")),
        other => return Err(PgError::protocol(format!("there is no message of the kind {other}"))),
    };
    if !body.0.is_empty() {
        return Err(PgError::protocol("a message is longer than what it says"));
    }
    Ok(message)
}

/// The bytes of a message, read from the front.
struct Body(Bytes);

impl Body {
    fn short() -> PgError {
        PgError::protocol("a message ends before what it says")
    }

    fn take(&mut self, count: usize) -> Result<Bytes, PgError> {
        if count > self.0.len() {
            return Err(Self::short());
        }
        Ok(self.0.split_to(count))
    }

    fn i16(&mut self) -> Result<i16, PgError> {
        Ok(self.take(2)?.get_i16())
    }

    fn u32(&mut self) -> Result<u32, PgError> {
        Ok(self.take(4)?.get_u32())
    }

    /// A number of things of at least `bytes` bytes each.
    fn count(&mut self, bytes: usize) -> Result<usize, PgError> {
        let count = usize::from(self.take(2)?.get_u16());
        if count * bytes > self.0.len() {
            return Err(Self::short());
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, PgError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(Self::short)?;
        let text = self.take(end)?;
        self.0.advance(1);
        let text = std::str::from_utf8(&text).map_err(|_| PgError::fatal("22021", "a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn value(&mut self) -> Result<Option<Bytes>, PgError> {
        match self.u32()?.cast_signed() {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Self::short())?;
                self.take(length).map(Some)
            }
        }
    }

    fn target(&mut self) -> Result<Target, PgError> {
        let kind = self.take(1)?;
        let name = self.text()?;
        match kind.as_ref() {
            b"S" => Ok(Target::Statement(name)),
            b"P" => Ok(Target::Portal(name)),
            _ => Err(PgError::protocol("only statements and portals are described and closed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_read_to_their_last_byte() {
        let bind = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0";
        assert_eq!(
            read(b'B', Bytes::from_static(bind)).unwrap(),
            Incoming::Bind {
                portal: "p".to_owned(),
                statement: "s".to_owned(),
                formats: vec![1],
                values: vec![Some(Bytes::from_static(b"x")), None],
                results: vec![],
            }
        );
        let execute = read(b'E', Bytes::from_static(b"\0\xff\xff\xff\xff")).unwrap();
        assert_eq!(execute, Incoming::Execute { portal: String::new(), most: 0 });
        for end in 0..bind.len() {
            assert!(read(b'B', Bytes::copy_from_slice(&bind[..end])).is_err(), "cut at {end}");
        }
        assert!(read(b'S', Bytes::from_static(b"x")).is_err(), "a byte too many");
        assert!(read(b'P', Bytes::from_static(b"\0\0\xff\xff")).is_err(), "more types than bytes");
        assert_eq!(read(b'Q', Bytes::from_static(b"\xff\0")).unwrap_err().code, "22021");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(letter in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(letter, Bytes::from(body));
        }
    }
}
