//! What goes wrong, as data.

use futures::future::BoxFuture;
use kube::Client;

/// Something that goes wrong with requests whose line holds all of `parts`.
pub struct Fault {
    parts: Vec<String>,
    skip: usize,
    times: usize,
    make: Box<dyn Fn() -> Effect + Send>,
}

/// What happens instead of the answer.
pub enum Effect {
    /// This status and message.
    Refuse(u16, String),
    /// No connection.
    Unreachable,
    /// Nothing happens, and no answer ever comes.
    Swallow,
    /// The request takes effect, and no answer ever comes.
    LoseAnswer,
    /// Somebody is quicker: this happens first, then the request is served.
    First(Deed),
}

/// What somebody who is quicker does, with an administrator's client.
pub type Deed = Box<dyn FnOnce(&Client) -> BoxFuture<'static, ()> + Send>;

impl Fault {
    /// Once, at the next request whose line (`PATCH /api/v1/nodes/n1?…`) holds all of `parts`.
    pub fn once(parts: &[&str], make: impl Fn() -> Effect + Send + 'static) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self { parts, skip: 0, times: 1, make: Box::new(make) }
    }

    /// Not at the first so many.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// So many times.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// The effect of the first fault that this request meets.
pub(super) fn strike(faults: &mut Vec<Fault>, line: &str) -> Option<Effect> {
    faults.retain(|fault| fault.times > 0);
    let fault = faults.iter_mut().find(|fault| fault.parts.iter().all(|part| line.contains(part)))?;
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times -= 1;
    Some((fault.make)())
}
