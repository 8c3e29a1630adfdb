//! What a drain costs the API server.

use anyhow::{Context, Result};

use lab::Node;

/// Ticks of a second in /proc: `USER_HZ`, which is 100 on every architecture that Kubernetes is released for.
const TICKS: f64 = 100.0;

/// The API server's process on a control-plane node.
pub(super) struct ApiServer<'a> {
    node: &'a Node,
    stat: String,
}

impl<'a> ApiServer<'a> {
    /// The one that runs now.
    ///
    /// # Errors
    /// If none or several run.
    pub(super) fn find(node: &'a Node) -> Result<Self> {
        let answer = node.run(&["pidof", "-s", "kube-apiserver"])?;
        Ok(Self { node, stat: format!("/proc/{}/stat", answer.trim()) })
    }

    /// Seconds of processor time it has used since its start.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = self.node.run(&["cat", &self.stat])?;
        ticks(&stat).map(|ticks| f64::from(ticks) / TICKS).with_context(|| format!("{}: {stat}", self.stat))
    }
}

/// utime and stime of a line of /proc/PID/stat: the 14th and 15th field, of which the second may contain blanks.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u32>().ok());
    Some(times.next()? + times.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_user_and_system_without_children() {
        let stat = "424 (a (b) c) S 245 424 424 0 -1 4194560 61859 0 34 0 575 85 3 4 20 0 9 0 1730409";
        assert_eq!(ticks(stat), Some(660));
        assert_eq!(ticks("424 (a) S 1"), None);
    }
}
