//! Rules that hold at every API server, the fake one and the real one.

mod answers;
mod drain;
mod drain_options;
mod drain_rows;
mod fleet;
mod leases;
mod node;
mod policy;

/// Runs rules against the fake API server, in time that moves when everybody waits, and against the real one.
macro_rules! at_every_server {
    ($($rule:ident),+ $(,)?) => {
        mod on_the_fake {
            $(
                #[tokio::test(start_paused = true)]
                async fn $rule() {
                    let (bench, _server) = $crate::test_cluster::TestCluster::fake().await;
                    super::$rule(&bench).await;
                }
            )+
        }
        mod on_the_real {
            $(
                #[tokio::test]
                async fn $rule() {
                    if let Some(real) = $crate::real::Real::begin().await {
                        super::$rule(&real.bench).await;
                    }
                }
            )+
        }
    };
}
use at_every_server;
pub(crate) use drain::{blocks, progress};
pub(crate) use policy::policy_seen;
