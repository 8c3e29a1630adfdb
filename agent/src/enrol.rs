//! Enrolment.
pub mod check;
pub mod key;
