//! As much of HTTP/1.1 as it takes to be asked for a page: one request for each connection, and nothing waits for long.

use super::binding::Connection;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

/// A request may have so many bytes, up to the empty line.
const MOST: usize = 8192;
/// Whoever asks has so long to do so, and as long again to read the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many bytes of what is sent beside the request are read and thrown away: an answer gets lost where they are not.
const MOST_IGNORED: usize = 1 << 20;

pub struct Request {
    pub path: String,
    pub query: String,
    pub host: Option<String>,
    /// True if only the head of the answer is wanted.
    head: bool,
}

pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

impl Answer {
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        let mut body = body.into();
        body.push('\n');
        Self { status, kind: "text/plain; charset=utf-8", body }
    }
}

impl Request {
    /// The value of a name in the query, as it stands there.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Reads a request, has it answered, and waits until the answer is read.
pub fn serve(connection: &mut dyn Connection, answer: impl FnOnce(&Request) -> Answer) -> io::Result<()> {
    let (request, answer) = match read(connection, Instant::now() + PATIENCE)? {
        Ok(request) => {
            let answer = answer(&request);
            (Some(request), answer)
        }
        Err((status, text)) => (None, Answer::text(status, text)),
    };
    let deadline = Instant::now() + PATIENCE;
    write(connection, request.is_some_and(|request| request.head), &answer, deadline)?;
    connection.finish();
    ignore(connection, deadline)
}

/// Reads the head of a request. The inner error is for whoever sent it.
fn read(connection: &mut dyn Connection, deadline: Instant) -> io::Result<Result<Request, (u16, &'static str)>> {
    let mut bytes = Vec::with_capacity(1024);
    let mut piece = [0; 1024];
    loop {
        if let Some(end) = find_end(&bytes) {
            return Ok(parse(&bytes[..end]));
        }
        if bytes.len() >= MOST {
            return Ok(Err((431, "this request is too long")));
        }
        let Some(left) = left(deadline) else { return Ok(Err((408, "this request did not come in time"))) };
        connection.set_patience(left)?;
        let room = piece.len().min(MOST - bytes.len());
        match connection.read(&mut piece[..room]) {
            Ok(0) if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(Err((400, "this is no request of HTTP"))),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if is_late(&error) => return Ok(Err((408, "this request did not come in time"))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn find_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n")
}

fn parse(head: &[u8]) -> Result<Request, (u16, &'static str)> {
    const RUBBISH: (u16, &str) = (400, "this is no request of HTTP");
    let head = std::str::from_utf8(head).map_err(|_| RUBBISH)?;
    let mut lines = head.split("\r\n");
    let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else { return Err(RUBBISH) };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(RUBBISH);
    }
    if method != "GET" && method != "HEAD" {
        return Err((405, "only GET is answered here: nothing can be changed"));
    }
    let hosts = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let hosts: Vec<_> = hosts.map(|(_, value)| value.trim().to_owned()).collect();
    if hosts.len() > 1 {
        return Err(RUBBISH);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Request {
        path: path.to_owned(),
        query: query.to_owned(),
        host: hosts.into_iter().next(),
        head: method == "HEAD",
    })
}

fn write(connection: &mut dyn Connection, head: bool, answer: &Answer, deadline: Instant) -> io::Result<()> {
    let Answer { status, kind, body } = answer;
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let mut text = String::with_capacity(body.len() + 512);
    let _ = write!(
        text,
        "HTTP/1.1 {status} {reason}\r\nServer: everloop\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'none'; \
         script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if !head {
        text.push_str(body);
    }
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let left = left(deadline).ok_or(io::ErrorKind::TimedOut)?;
        connection.set_patience(left)?;
        match connection.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what is still sent, until the other side closes, or it is too much.
fn ignore(connection: &mut dyn Connection, deadline: Instant) -> io::Result<()> {
    let mut piece = [0; 8192];
    let mut ignored = 0;
    while let Some(left) = left(deadline).filter(|_| ignored < MOST_IGNORED) {
        connection.set_patience(left)?;
        match connection.read(&mut piece)? {
            0 => break,
            count => ignored += count,
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
