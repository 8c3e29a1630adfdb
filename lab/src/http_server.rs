//! A small file server for the package repository, with a limit on its rate.
//!
//! The limit stands in a file beside what is served, so that whoever runs the server, a test or another process can
//! change it at any time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// File in the served directory that holds the limit in bytes per second; none if absent or 0.
const RATE_FILE: &str = ".rate-bytes";

/// How much is sent between two looks at the limit.
const CHUNK: usize = 32 * 1024;

/// Clients that say nothing are given up after this long.
const IDLE: Duration = Duration::from_secs(30);

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// Limits the rate of everything served from `directory`, for all clients together; `None` lifts the limit.
///
/// # Errors
/// If the directory cannot be written.
pub fn set_rate(directory: &Path, bytes_per_second: Option<u64>) -> Result<()> {
    let path = directory.join(RATE_FILE);
    fs::write(&path, bytes_per_second.unwrap_or(0).to_string())
        .with_context(|| format!("cannot write {}", path.display()))
}

impl HttpServer {
    /// Serves the files below `directory` on `listen`, in threads of this process.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn start(directory: &Path, listen: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().context("the server has no address")?;
        let stop = Arc::new(AtomicBool::new(false));
        let site = Arc::new(Site { directory: directory.to_owned(), next: Mutex::new(Instant::now()) });
        let stopping = Arc::clone(&stop);
        let acceptor = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let site = Arc::clone(&site);
                // A client that goes away in the middle is its own affair.
                thread::spawn(move || drop(site.serve(&client)));
            }
        });
        Ok(Self { address, stop, acceptor: Some(acceptor) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process is ended.
    pub fn serve_forever(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.stop.store(true, Ordering::Relaxed);
        // The acceptor sleeps in accept; a last client wakes it.
        let mut target = self.address;
        if target.ip().is_unspecified() {
            target.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        if TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok() {
            let _ = acceptor.join();
        }
    }
}

/// What is served, and when the next bytes may go.
struct Site {
    directory: PathBuf,
    next: Mutex<Instant>,
}

impl Site {
    /// Answers requests of one client until it closes; apt sends several over one connection.
    fn serve(&self, client: &TcpStream) -> Result<()> {
        client.set_read_timeout(Some(IDLE))?;
        let mut requests = BufReader::new(client);
        while let Some(request) = Request::read(&mut requests)? {
            self.answer(client, &request)?;
        }
        client.shutdown(Shutdown::Both)?;
        Ok(())
    }

    fn answer(&self, mut client: &TcpStream, request: &Request) -> Result<()> {
        let file = self.find(&request.path).and_then(|path| File::open(path).ok());
        let Some((mut file, size)) =
            file.and_then(|file| file.metadata().ok().map(|meta| (file, meta.len())))
        else {
            client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(());
        };
        let head = match request.from.filter(|from| *from > 0 && *from < size) {
            Some(from) => {
                std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from))?;
                format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\nContent-Length: {}\r\n\r\n",
                    size - 1,
                    size - from
                )
            }
            None => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
        };
        client.write_all(head.as_bytes())?;
        if request.head_only {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            self.wait_turn(count);
            client.write_all(&chunk[..count])?;
        }
    }

    /// The file a path names, if it is one below the directory.
    fn find(&self, path: &str) -> Option<PathBuf> {
        let relative = PathBuf::from(decode(path).trim_start_matches('/'));
        let inside =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let path = self.directory.join(relative);
        (inside && path.is_file()).then_some(path)
    }

    /// Sleeps until `count` more bytes fit the limit.
    fn wait_turn(&self, count: usize) {
        let rate = fs::read_to_string(self.directory.join(RATE_FILE))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .filter(|rate| *rate > 0);
        let Some(rate) = rate else { return };
        let cost = Duration::from_nanos(1_000_000_000_u64.saturating_mul(count as u64) / rate);
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + cost;
            turn
        };
        sleep(turn.saturating_duration_since(Instant::now()));
    }
}

/// The part of a request that matters.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    head_only: bool,
    /// First byte wanted, when apt resumes a download.
    from: Option<u64>,
}

impl Request {
    /// Reads the next request; `None` when the client has closed.
    fn read(input: &mut impl BufRead) -> Result<Option<Self>> {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Self { path: path.to_owned(), head_only: method == "HEAD", from: None };
        loop {
            let mut header = String::new();
            if input.read_line(&mut header)? == 0 || header.trim().is_empty() {
                return Ok(Some(request));
            }
            let header = header.to_ascii_lowercase();
            if let Some(range) = header.strip_prefix("range: bytes=") {
                request.from = range.split('-').next().and_then(|from| from.parse().ok());
            }
        }
    }
}

/// Undoes percent-encoding; apt encodes `+` and `~` in file names, and `:` in paths.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_apt_sends() {
        let mut input = &b"GET /core%3a/a HTTP/1.1\r\nHost: x\r\nRange: bytes=17-\r\n\r\n"[..];
        let request = Request::read(&mut input).unwrap().unwrap();
        assert_eq!(request, Request { path: "/core%3a/a".into(), head_only: false, from: Some(17) });
        assert_eq!(Request::read(&mut input).unwrap(), None);
        assert_eq!(decode("/core%3a/a%2Bb%"), "/core:/a+b%");
    }

    #[test]
    fn serves_nothing_outside_its_directory() {
        let site = Site { directory: PathBuf::from("/etc"), next: Mutex::new(Instant::now()) };
        assert!(site.find("/passwd").is_some());
        assert_eq!(site.find("/../etc/passwd"), None);
        assert_eq!(site.find("/%2e%2e/etc/passwd"), None);
    }
}
