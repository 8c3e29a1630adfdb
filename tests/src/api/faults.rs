//! What goes wrong, as data.

use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;

use super::Who;

/// Something that goes wrong with requests whose line holds all of `parts`.
pub struct Fault {
    parts: Vec<String>,
    whose: Option<Who>,
    skip: usize,
    times: usize,
    make: Whim,
}

/// What happens to the request of this line, if anything.
type Whim = Box<dyn FnMut(&str) -> Option<Effect> + Send>;

/// What happens instead of the answer.
pub enum Effect {
    /// This status and message.
    Refuse(u16, String),
    /// The server has too much to do: 429, and when to come back, in seconds.
    Busy(u32),
    /// No connection.
    Unreachable,
    /// Nothing happens, and no answer ever comes.
    Swallow,
    /// The request takes effect, and no answer ever comes.
    LoseAnswer,
    /// It is served after a while.
    Delay(Duration),
    /// Somebody is quicker: this happens first, then the request is served.
    First(Deed),
}

/// What somebody who is quicker does, with an administrator's client.
pub type Deed = Box<dyn FnOnce(&Client) -> BoxFuture<'static, ()> + Send>;

impl Fault {
    /// Once, at the next request whose line (`PATCH /api/v1/nodes/n1?…`) holds all of `parts`.
    pub fn once(parts: &[&str], make: impl Fn() -> Effect + Send + 'static) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self { parts, whose: None, skip: 0, times: 1, make: Box::new(move |_| Some(make())) }
    }

    /// At every request that `decide` wants, which sees the request's line.
    pub fn whenever(decide: impl FnMut(&str) -> Option<Effect> + Send + 'static) -> Self {
        Self { parts: Vec::new(), whose: None, skip: 0, times: usize::MAX, make: Box::new(decide) }
    }

    /// Only at requests of this one.
    #[must_use]
    pub fn of(self, who: Who) -> Self {
        Self { whose: Some(who), ..self }
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
pub(super) fn strike(faults: &mut Vec<Fault>, who: &Who, line: &str) -> Option<Effect> {
    faults.retain(|fault| fault.times > 0);
    let fault = faults.iter_mut().find(|fault| {
        fault.whose.as_ref().is_none_or(|whose| whose == who)
            && fault.parts.iter().all(|part| line.contains(part))
    })?;
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times -= 1;
    (fault.make)(line)
}
