//! A client of pods that was told their addresses once and calls them steadily, from outside their node.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};

const PORT: u16 = 8080;
const PAUSE: Duration = Duration::from_millis(100);
/// Late is not failed: the machine is shared with what is being upgraded on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds from one call to the next, where one waits in vain for a connection.
const LONGEST: f64 = 7.0;

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) address: Ipv4Addr,
    /// When it was begun, in seconds of Unix time, as a script tells its steps.
    pub(crate) at: f64,
    /// What went wrong.
    pub(crate) failure: Option<String>,
}

/// A client at work.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Call>>>>,
}

impl Client {
    /// Calls each address again and again, whatever becomes of the others. Fails where one does not answer at the start: nothing
    /// could be said of it later.
    pub(crate) fn start(addresses: &[Ipv4Addr]) -> Result<Self> {
        for address in addresses {
            request(*address).with_context(|| format!("{address} never answered"))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let begin = |address: &Ipv4Addr| {
            let (stop, address) = (Arc::clone(&stop), *address);
            thread::spawn(move || call(address, &stop))
        };
        let threads = addresses.iter().map(begin).collect();
        Ok(Self { stop, threads })
    }

    /// Ends, and tells every call.
    pub(crate) fn stop(self) -> Result<Vec<Call>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut calls = Vec::new();
        for thread in self.threads {
            calls.extend(thread.join().map_err(|_| anyhow!("a client's thread panicked"))??);
        }
        Ok(calls)
    }
}

fn call(address: Ipv4Addr, stop: &AtomicBool) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let at = now()?;
        let failure = request(address).err().map(|error| format!("{error:#}"));
        calls.push(Call { address, at, failure });
        thread::sleep(PAUSE);
    }
    Ok(calls)
}

/// Seconds of Unix time.
pub(crate) fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// A connection of its own for each request, as of a client that keeps none.
fn request(address: Ipv4Addr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, PORT)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let first = answer.lines().next().unwrap_or_default();
    ensure!(first.contains(" 200 "), "it answered {first:?}");
    Ok(())
}

/// Calls that were begun within these seconds of Unix time; fails where the client was not at it all the time.
pub(crate) fn within(calls: &[Call], from: f64, until: f64) -> Result<Vec<&Call>> {
    let found: Vec<&Call> = calls.iter().filter(|call| call.at >= from && call.at < until).collect();
    let mut times: Vec<f64> = found.iter().map(|call| call.at).chain([from, until]).collect();
    times.sort_by(f64::total_cmp);
    let pauses = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next - one);
    let longest = pauses.fold(0.0, f64::max);
    ensure!(longest < LONGEST, "the client did not call for {longest:.0} s: nothing is shown");
    Ok(found)
}
