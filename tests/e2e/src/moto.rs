//! A server that speaks S3, where a Python has one: `moto`, which honours conditional puts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// moto looks whether an object is there and makes it in two steps: two conditional puts at one moment can both succeed,
/// which the lease rightly refuses to live with. Requests are answered one at a time, their bodies read before.
const SERVER: &str = r#"
import io, threading
from werkzeug.serving import run_simple
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

application = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()

def one_at_a_time(environ, start_response):
    length = environ.get("CONTENT_LENGTH")
    if length:
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))
    with turn:
        return list(application(environ, start_response))

run_simple("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
"#;

/// A running `moto_server` on a free port with the bucket `bucket`; ended when dropped.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// `None`, and says so, where there is no Python with moto: `RUNLAKE_PYTHON`, else `python3`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let python = std::env::var_os("RUNLAKE_PYTHON").unwrap_or_else(|| "python3".into());
        let found = Command::new(&python).args(["-c", "import moto.server, flask"]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            println!("skipped: no Python with moto[server]; name one in RUNLAKE_PYTHON");
            return None;
        }
        let mut child = Command::new(python)
            .args(["-c", SERVER])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stderr.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Every request is a line: they are read so that the server does not stop at a full pipe.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, port)) = line.rsplit_once("http://127.0.0.1:") {
                    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                    let _ = sender.send(digits);
                }
            }
        });
        let port = receiver.recv_timeout(Duration::from_secs(60)).expect("moto says where it listens");
        let moto = Self { child, port: port.parse().unwrap() };
        moto.make_bucket();
        Some(moto)
    }

    fn make_bucket(&self) {
        let answer = self.ask("PUT", "/bucket");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn ask(&self, method: &str, target: &str) -> String {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("moto listens");
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        connection.write_all(request.as_bytes()).expect("moto takes a request");
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("moto answers");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The names of the first thousand objects whose names begin so.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let answer = self.ask("GET", &format!("/bucket?list-type=2&prefix={prefix}"));
        let keys = answer.split("<Key>").skip(1);
        keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }

    /// What a process needs to know to use it.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
