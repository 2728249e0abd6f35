//! Images and words of a command line that attack the host (SECURITY.md 2a): it stays as it is, and the container is
//! inside its root or does not start.
#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod confined;
mod evil;
mod exe;
mod links;
mod trusted;
mod users;
mod workdir;
