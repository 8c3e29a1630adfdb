//! Pure questions about what was observed, each asked in one place: preflight, the turn, verification and the
//! simulator call the same functions. Adapters observe and write; nothing here reads, waits or remembers.
//!
//! - [`lease`]: what becomes of a Lease that was read, for somebody who wants it.
//! - [`checks`]: what each check of preflight comes to; [`preflight`]: the checks put together.

pub mod checks;
pub mod lease;
pub mod preflight;
