//! Rules that hold at every API server, the fake one and the real one.

mod drain;
mod fleet;
mod leases;
mod node;

/// Runs rules against the fake API server, in time that moves when everybody waits.
macro_rules! against_the_fake {
    ($($rule:ident),+ $(,)?) => {
        mod on_the_fake {
            $(
                #[tokio::test(start_paused = true)]
                async fn $rule() {
                    let (bench, _server) = $crate::contract::bench::Bench::fake().await;
                    super::$rule(&bench).await;
                }
            )+
        }
    };
}
use against_the_fake;
