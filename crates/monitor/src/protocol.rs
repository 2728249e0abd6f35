//! What client and monitor say to each other, over `ctl.sock` and over the session socket a monitor is born with.
//!
//! Both are `SOCK_SEQPACKET`: one packet is one frame, and its first byte is the kind.
//!
//! | direction | kind | rest of the packet |
//! |---|---|---|
//! | to the monitor | `J` | a [`Request`] as JSON; descriptors by `SCM_RIGHTS` |
//! | to the monitor | `I` | bytes for the container's standard input; none ends it |
//! | to the client | `J` | an [`Event`] as JSON; descriptors by `SCM_RIGHTS` |
//! | to the client | `O`, `E` | bytes of its standard output or error, at most [`MAX_DATA`] |
//!
//! Every request is answered by `ok` or `error` with its name, except: `start` and `restart` by `started` or `error`,
//! `status` by `status`, `wait` by `exited`, `exec` by `exec_started` and later `exec_exited`.

use serde::{Deserialize, Serialize};

use crate::StepReport;
use crate::exit::{Exit, Status};
use crate::task::RestartPolicy;

/// Most bytes of data in one frame.
pub const MAX_DATA: usize = 32 * 1024;
/// Most bytes of one packet: the kind and the data.
pub const MAX_PACKET: usize = MAX_DATA + 1;
/// Most descriptors with one packet: three for stdio and one memfd.
pub const MAX_FDS: usize = 4;
/// Most bytes of an exec's process document inside the request; larger ones go in a memfd.
pub const MAX_INLINE: usize = 8 * 1024;
/// Most bytes of an exec's process document at all.
pub const MAX_PROCESS: u64 = 8 << 20;

/// First byte of a packet with a [`Request`] or an [`Event`].
pub const JSON: u8 = b'J';
/// First byte of a packet with standard input.
pub const INPUT: u8 = b'I';
/// First byte of a packet with standard output.
pub const OUTPUT: u8 = b'O';
/// First byte of a packet with standard error.
pub const ERRPUT: u8 = b'E';

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Start an armed container. `explain` asks for a `step` event per step.
    Start {
        /// Report each step.
        #[serde(default)]
        explain: bool,
    },
    /// Join the streams. Output is sent from now on, input is taken from this session.
    Attach {
        /// Send input from this session to the container.
        #[serde(default)]
        stdin: bool,
        /// Receive `O` frames.
        #[serde(default)]
        stdout: bool,
        /// Receive `E` frames.
        #[serde(default)]
        stderr: bool,
    },
    /// Set the terminal's size; remembered for the next start as well.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Send a signal to the first process. `SIGKILL`, `SIGTERM` and the stop signal also end the restart policy.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// Ask to end, then kill; answered when the container has ended.
    Stop {
        /// Instead of the task's.
        #[serde(default)]
        signal: Option<i32>,
        /// Instead of the task's; negative waits for ever.
        #[serde(default)]
        timeout_s: Option<i64>,
    },
    /// Stop and start again; the restart count begins at 0.
    Restart {
        /// As in `stop`.
        #[serde(default)]
        signal: Option<i32>,
        /// As in `stop`.
        #[serde(default)]
        timeout_s: Option<i64>,
    },
    /// Freeze every process.
    Pause,
    /// Let them go on.
    Resume,
    /// Start another process in the container. Descriptors: without `tty` the standard input, output and error of the
    /// process; then, when `process` is none, a memfd with the document. One per session.
    Exec {
        /// An OCI `process` document as JSON text.
        #[serde(default)]
        process: Option<String>,
        /// docker's `USER` form, resolved in the container.
        #[serde(default)]
        user: Option<String>,
        /// Give it a terminal, whose master comes back with `exec_started`.
        #[serde(default)]
        tty: bool,
        /// The terminal's first size, lines.
        #[serde(default)]
        rows: u16,
        /// The terminal's first size, columns.
        #[serde(default)]
        cols: u16,
    },
    /// Signal this session's exec.
    ExecSignal {
        /// Its number.
        signal: i32,
    },
    /// Be told of the end.
    Wait {
        /// Which.
        condition: WaitFor,
    },
    /// Where the container is.
    Status,
    /// Change what may change while it runs.
    Update {
        /// The new restart policy.
        #[serde(default)]
        restart: Option<RestartPolicy>,
    },
    /// This session removes the container after its last exit; if it is gone by then, the monitor has it done.
    CleanupByMe,
    /// An armed monitor ends, as it does without clients; for who removes the container.
    Disarm,
}

impl Request {
    /// The request's name in answers.
    pub fn op(&self) -> Op {
        match self {
            Request::Start { .. } => Op::Start,
            Request::Attach { .. } => Op::Attach,
            Request::Resize { .. } => Op::Resize,
            Request::Signal { .. } => Op::Signal,
            Request::Stop { .. } => Op::Stop,
            Request::Restart { .. } => Op::Restart,
            Request::Pause => Op::Pause,
            Request::Resume => Op::Resume,
            Request::Exec { .. } => Op::Exec,
            Request::ExecSignal { .. } => Op::ExecSignal,
            Request::Wait { .. } => Op::Wait,
            Request::Status => Op::Status,
            Request::Update { .. } => Op::Update,
            Request::CleanupByMe => Op::CleanupByMe,
            Request::Disarm => Op::Disarm,
        }
    }
}

/// A request's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Op {
    Start,
    Attach,
    Resize,
    Signal,
    Stop,
    Restart,
    Pause,
    Resume,
    Exec,
    ExecSignal,
    Wait,
    Status,
    Update,
    CleanupByMe,
    Disarm,
    /// A packet that could not be read as a request.
    Unknown,
}

/// What a waiter waits for, as in docker's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// The last end; between two runs of a restart policy it counts as running, as in docker.
    NotRunning,
    /// The next end, even if the container is then started again.
    NextExit,
    /// The last end, and then `removed`.
    Removed,
}

/// What a monitor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The request was carried out.
    Ok {
        /// Which.
        op: Op,
    },
    /// The request failed.
    Error {
        /// Which.
        op: Op,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
    },
    /// The container's program was started.
    Started {
        /// The first process in the host's pid namespace.
        pid: i32,
        /// RFC 3339 with nanoseconds, UTC.
        started_at: String,
        /// What could not be done as asked, for people.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// One step of a start with `explain`.
    Step(StepReport),
    /// A run ended.
    Exited {
        /// How.
        exit: Exit,
        /// It will be started again.
        restarting: bool,
    },
    /// The container was removed (only for a `wait` of that kind).
    Removed,
    /// An exec was started; the terminal's master comes along when one was asked for.
    ExecStarted {
        /// Its pid in the host's pid namespace.
        pid: i32,
    },
    /// An exec ended.
    ExecExited {
        /// As [`Exit::exit_code`].
        exit_code: i32,
    },
    /// Where the container is.
    Status(Status),
}

/// A failure, as far as it can cross a process boundary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, by the name of the `fault::Kind`, in lower case.
    pub kind: String,
    /// What was wrong.
    pub message: String,
    /// Its causes, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What the user can do.
    #[serde(default)]
    pub hint: Option<String>,
    /// The exit code docker's command line gives for it: 125, 126 or 127.
    pub exit: i32,
}
