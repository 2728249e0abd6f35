//! The loops against a thread that plays the monitor at the other end of a socket pair.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use linux::SeqSocket;
use monitor::protocol::{self, MAX_DATA, MAX_PACKET};
use monitor::{Event, Exit, Request, Session};
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};

use super::*;
use crate::terminal::DetachKeys;

const ATTACH: Request = Request::Attach { stdin: true, stdout: true, stderr: true };
const START: Request = Request::Start { explain: false };

/// The monitor's end.
struct Peer(SeqSocket);

#[derive(Debug, PartialEq)]
enum Packet {
    Request(Request),
    Input(Vec<u8>),
    Closed,
}

impl Peer {
    fn event(&self, event: &Event, fds: &[BorrowedFd<'_>]) {
        let text = serde_json::to_vec(event).unwrap();
        self.0.send(&[&[protocol::JSON], &text[..]].concat(), fds).unwrap();
    }

    fn output(&self, kind: u8, bytes: &[u8]) {
        self.0.send(&[&[kind], bytes].concat(), &[]).unwrap();
    }

    fn started(&self) {
        self.event(&Event::Started { pid: 7, started_at: String::new(), warnings: Vec::new() }, &[]);
    }

    fn exited(&self, exit_code: i32) {
        self.event(&Event::Exited { exit: exit(exit_code), restarting: false }, &[]);
    }

    fn next(&self) -> Packet {
        let mut buffer = vec![0; MAX_PACKET];
        let Some(received) = self.0.recv(&mut buffer).unwrap() else { return Packet::Closed };
        match (buffer[0], &buffer[1..received.len]) {
            (protocol::JSON, text) => Packet::Request(serde_json::from_slice(text).unwrap()),
            (protocol::INPUT, bytes) => Packet::Input(bytes.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn expect(&self, request: Request) {
        assert_eq!(self.next(), Packet::Request(request));
    }
}

fn exit(exit_code: i32) -> Exit {
    Exit { exit_code, ..Exit::default() }
}

fn failure() -> Failure {
    Failure { kind: "conflict".into(), message: "no".into(), causes: Vec::new(), hint: None, exit: 126 }
}

fn pair() -> (Session, Peer) {
    let (ours, theirs) = SeqSocket::pair().unwrap();
    (Session::from_socket(ours).unwrap(), Peer(theirs))
}

/// A session whose other end a thread has.
fn play<T: Send + 'static>(script: impl FnOnce(Peer) -> T + Send + 'static) -> (Session, JoinHandle<T>) {
    let (session, peer) = pair();
    (session, thread::spawn(move || script(peer)))
}

fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (read.into(), write.into())
}

fn reader(mut file: File) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        all
    })
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    (master, slave)
}

fn plain<'a>(
    requests: &'a [Request],
    stdin: Option<&'a File>,
    out: &'a File,
    err: &'a File,
) -> Foreground<'a> {
    Foreground {
        requests,
        tty: false,
        stdin: stdin.map(AsFd::as_fd),
        stdout: out.as_fd(),
        stderr: err.as_fd(),
        detach_keys: DetachKeys::default(),
        sig_proxy: false,
        redraw: false,
    }
}

/// Runs the loop, without a second session.
fn run(mut session: Session, with: Foreground<'_>) -> Ended<Exit> {
    foreground(&mut session, with, &mut || Ok(None), &mut |_| {}).unwrap()
}

fn null() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

fn ended(exit_code: i32) -> Ended<Exit> {
    Ended { end: End::Exited(exit(exit_code)), write_error: None }
}

/// More than the sockets and pipes between hold.
fn much() -> Vec<u8> {
    (0..3 << 20).map(|n: u32| (n % 251) as u8).collect()
}

#[test]
fn output_arrives_before_the_end() {
    let (mut session, peer) = play(|peer| {
        peer.expect(ATTACH);
        peer.expect(START);
        peer.event(&Event::Ok { op: Op::Attach }, &[]);
        peer.started();
        peer.output(protocol::OUTPUT, b"out");
        peer.output(protocol::ERRPUT, b"err");
        peer.output(protocol::OUTPUT, b"put");
        peer.exited(3);
    });
    let (out, out_end) = pipe();
    let (err, err_end) = pipe();
    let mut told = Vec::new();
    let requests = [ATTACH, START];
    let with = plain(&requests, None, &out_end, &err_end);
    let got = foreground(&mut session, with, &mut || Ok(None), &mut |event| told.push(event)).unwrap();
    assert_eq!(got, ended(3));
    drop((out_end, err_end));
    assert_eq!(
        (reader(out).join().unwrap(), reader(err).join().unwrap()),
        (b"output".to_vec(), b"err".to_vec())
    );
    assert!(matches!(told[..], [Event::Ok { op: Op::Attach }, Event::Started { pid: 7, .. }]));
    peer.join().unwrap();
}

#[test]
fn input_waits_for_the_container() {
    let (session, peer) = play(|peer| {
        let mut all = Vec::new();
        thread::sleep(Duration::from_millis(50));
        loop {
            match peer.next() {
                Packet::Input(bytes) if bytes.is_empty() => break,
                Packet::Input(bytes) => all.extend(bytes),
                other => panic!("{other:?}"),
            }
        }
        peer.exited(0);
        all
    });
    let (stdin, mut writer) = pipe();
    let typing = thread::spawn(move || writer.write_all(&much()).unwrap());
    assert_eq!(run(session, plain(&[], Some(&stdin), &null(), &null())), ended(0));
    assert!(peer.join().unwrap() == much());
    typing.join().unwrap();
}

#[test]
fn a_container_may_end_without_reading_its_input() {
    let (session, peer) = play(|peer| {
        thread::sleep(Duration::from_millis(50));
        peer.output(protocol::OUTPUT, b"bye");
        peer.exited(0);
    });
    let (stdin, mut writer) = pipe();
    let typing = thread::spawn(move || drop(writer.write_all(&much())));
    let (out, out_end) = pipe();
    assert_eq!(run(session, plain(&[], Some(&stdin), &out_end, &null())), ended(0));
    drop((out_end, stdin));
    assert_eq!(reader(out).join().unwrap(), b"bye");
    peer.join().unwrap();
    typing.join().unwrap();
}

#[test]
fn output_waits_for_its_reader() {
    for nonblocking in [false, true] {
        let (session, peer) = play(|peer| {
            much().chunks(MAX_DATA).for_each(|part| peer.output(protocol::OUTPUT, part));
            peer.exited(0);
        });
        let (out, out_end) = pipe();
        if nonblocking {
            let flags = rustix::fs::fcntl_getfl(&out_end).unwrap();
            rustix::fs::fcntl_setfl(&out_end, flags | OFlags::NONBLOCK).unwrap();
        }
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            reader(out).join().unwrap()
        });
        assert_eq!(run(session, plain(&[], None, &out_end, &null())), ended(0));
        drop(out_end);
        assert!(late.join().unwrap() == much());
        peer.join().unwrap();
    }
}

#[test]
fn output_that_cannot_be_written_ends_nothing() {
    let script = |peer: Peer| {
        much().chunks(MAX_DATA).for_each(|part| peer.output(protocol::OUTPUT, part));
        peer.output(protocol::ERRPUT, b"err");
        peer.exited(5);
    };
    let (out, out_end) = pipe();
    drop(out);
    let (err, err_end) = pipe();
    let (session, peer) = play(script);
    assert_eq!(run(session, plain(&[], None, &out_end, &err_end)), ended(5));
    drop(err_end);
    assert_eq!(reader(err).join().unwrap(), b"err");
    peer.join().unwrap();

    let full = File::options().write(true).open("/dev/full").unwrap();
    let (session, peer) = play(script);
    let got = run(session, plain(&[], None, &full, &null()));
    assert_eq!((got.end, got.write_error), (End::Exited(exit(5)), Some(Errno::NOSPC)));
    peer.join().unwrap();
}

#[test]
fn other_ends() {
    let (session, peer) = pair();
    peer.output(protocol::OUTPUT, b"x");
    drop(peer);
    assert_eq!(run(session, plain(&[START], None, &null(), &null())).end, End::Gone);

    let (session, peer) = play(|peer| {
        peer.expect(START);
        peer.event(&Event::Error { op: Op::Start, failure: failure() }, &[]);
        assert_eq!(peer.next(), Packet::Closed);
    });
    let got = run(session, plain(&[START], None, &null(), &null()));
    assert_eq!(got.end, End::Failed(Op::Start, failure()));
    peer.join().unwrap();
}

#[test]
fn a_terminal_is_raw_until_the_detach_keys() {
    let (master, slave) = terminal();
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let modes = |fd: &OwnedFd| rustix::termios::tcgetattr(fd).unwrap().local_modes;
    let before = modes(&slave);
    let theirs = slave.try_clone().unwrap();
    let (session, peer) = play(move |peer| {
        peer.expect(Request::Resize { rows: 25, cols: 80 });
        peer.expect(Request::Resize { rows: 24, cols: 80 });
        peer.expect(ATTACH);
        peer.event(&Event::Error { op: Op::Resize, failure: failure() }, &[]);
        peer.event(&Event::Ok { op: Op::Attach }, &[]);
        while modes(&theirs).contains(LocalModes::ICANON) {
            thread::sleep(Duration::from_millis(1));
        }
        rustix::io::write(&master, b"ls\x10\x03\x10\x11").unwrap();
        let mut input = Vec::new();
        while let Packet::Input(bytes) = peer.next() {
            input.extend(bytes);
        }
        (input, master)
    });
    let requests = [ATTACH];
    let with = Foreground {
        requests: &requests,
        tty: true,
        stdin: Some(slave.as_fd()),
        stdout: slave.as_fd(),
        stderr: slave.as_fd(),
        detach_keys: DetachKeys::default(),
        sig_proxy: true,
        redraw: true,
    };
    assert_eq!(run(session, with).end, End::Detached);
    assert_eq!(modes(&slave), before);
    let (input, _master) = peer.join().unwrap();
    assert_eq!(input, b"ls\x10\x03");
}

fn exec_streams<'a>(tty: bool, stdin: Option<&'a File>, out: &'a File) -> ExecStreams<'a> {
    let stdin = stdin.map(AsFd::as_fd);
    ExecStreams { tty, stdin, stdout: out.as_fd(), detach_keys: DetachKeys::default(), sig_proxy: false }
}

#[test]
fn an_exec_with_its_own_streams() {
    let (mut session, peer) = play(|peer| {
        peer.event(&Event::ExecStarted { pid: 7 }, &[]);
        peer.event(&Event::ExecExited { exit_code: 4 }, &[]);
    });
    let got = exec_session(&mut session, exec_streams(false, None, &null())).unwrap();
    assert_eq!(got, Ended { end: End::Exited(4), write_error: None });
    peer.join().unwrap();

    let (mut session, peer) = pair();
    peer.event(&Event::Error { op: Op::Exec, failure: failure() }, &[]);
    let got = exec_session(&mut session, exec_streams(false, None, &null())).unwrap();
    assert_eq!(got.end, End::Failed(Op::Exec, failure()));

    let (mut session, peer) = pair();
    drop(peer);
    assert_eq!(exec_session(&mut session, exec_streams(true, None, &null())).unwrap().end, End::Gone);
}

#[test]
fn an_exec_in_a_terminal() {
    let (mut session, peer) = play(|peer| {
        let (master, slave) = terminal();
        peer.event(&Event::ExecStarted { pid: 7 }, &[master.as_fd()]);
        drop(master);
        let mut line = [0; 64];
        let read = rustix::io::read(&slave, &mut line).unwrap();
        let mut program = File::from(slave.try_clone().unwrap());
        for _ in 0..2000 {
            program.write_all(b"some line of output\n").unwrap();
        }
        peer.event(&Event::ExecExited { exit_code: 6 }, &[]);
        // Somebody else still has the terminal open.
        assert_eq!(peer.next(), Packet::Closed);
        (line[..read].to_vec(), slave)
    });
    let (stdin, mut writer) = pipe();
    writer.write_all(b"date\n").unwrap();
    drop(writer);
    let (out, out_end) = pipe();
    let late = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        reader(out).join().unwrap()
    });
    let got = exec_session(&mut session, exec_streams(true, Some(&stdin), &out_end)).unwrap();
    assert_eq!(got.end, End::Exited(6));
    drop((session, out_end));
    let shown = String::from_utf8(late.join().unwrap()).unwrap();
    assert!(shown.starts_with("date\r\n"), "{:?}", &shown[..40]);
    assert_eq!(shown.matches("some line of output\r\n").count(), 2000);
    assert_eq!(peer.join().unwrap().0, b"date\n");
}

#[test]
fn an_exec_is_detached_from() {
    let (mut session, peer) = play(|peer| {
        let (master, slave) = terminal();
        peer.event(&Event::ExecStarted { pid: 7 }, &[master.as_fd()]);
        drop(master);
        assert_eq!(peer.next(), Packet::Closed);
        slave
    });
    let (stdin, mut writer) = pipe();
    writer.write_all(b"\x10\x11").unwrap();
    let got = exec_session(&mut session, exec_streams(true, Some(&stdin), &null())).unwrap();
    assert_eq!(got.end, End::Detached);
    drop(session);
    peer.join().unwrap();
}

/// Signals go to a process, to whichever of its threads does not block them; so these tests are processes of one thread.
/// They ignore none, whatever the tests were started with: nohup(1), or `&` in a script.
fn alone(body: fn()) {
    let child = linux::fork(|| {
        signals::reset_all().unwrap();
        body();
        0
    });
    let waited = rustix::process::waitpid(Some(child.unwrap()), rustix::process::WaitOptions::empty());
    assert_eq!(waited.unwrap().unwrap().1.exit_status(), Some(0));
}

/// Leaves a signal pending for the loop to find.
fn raise(signal: Signal) {
    let blocked = signals::set_mask(SignalSet::EMPTY.with(signal.as_raw())).unwrap();
    assert_eq!(blocked, SignalSet::EMPTY);
    rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
}

#[test]
fn signals_are_the_containers() {
    alone(|| {
        raise(Signal::TERM);
        let (mut session, peer) = pair();
        let (control, second) = pair();
        // The monitor does not listen at first.
        let mut calls = 0;
        let mut control = Some(control);
        let mut connect = || {
            calls += 1;
            Ok(if calls > 1 { control.take() } else { None })
        };
        peer.started();
        second.event(&Event::Ok { op: Op::Signal }, &[]);
        let mut told = 0;
        let (read, write) = pipe();
        let with = Foreground { sig_proxy: true, ..plain(&[], None, &write, &write) };
        // The end comes once the signal has.
        let got = foreground(&mut session, with, &mut connect, &mut |_| {
            told += 1;
            peer.output(protocol::OUTPUT, b"still here");
            peer.exited(143);
        });
        assert_eq!(got.unwrap(), ended(143));
        assert_eq!((told, calls), (1, 2));
        second.expect(Request::Signal { signal: 15 });
        drop(write);
        assert_eq!(std::io::read_to_string(read).unwrap(), "still here");
        assert!(signals::set_mask(SignalSet::EMPTY).unwrap().contains(15), "the mask is as before");
    });
}

#[test]
fn a_signal_that_came_too_early_is_sent_again() {
    alone(|| {
        raise(Signal::HUP);
        let (mut session, peer) = pair();
        let (control, second) = pair();
        let mut control = Some(control);
        peer.started();
        second.event(&Event::Error { op: Op::Signal, failure: failure() }, &[]);
        let file = null();
        let with = Foreground { sig_proxy: true, ..plain(&[], None, &file, &file) };
        let got = foreground(&mut session, with, &mut || Ok(control.take()), &mut |_| peer.exited(129));
        assert_eq!(got.unwrap(), ended(129));
        second.expect(Request::Signal { signal: 1 });
        second.expect(Request::Signal { signal: 1 });
    });
}

#[test]
fn signals_end_the_command_line_itself() {
    alone(|| {
        raise(Signal::INT);
        let (session, _peer) = pair();
        assert_eq!(run(session, plain(&[], None, &null(), &null())).end, End::Signalled(2));
    });
}

#[test]
fn a_change_of_size_is_passed_on() {
    alone(|| {
        raise(Signal::WINCH);
        let (master, slave) = terminal();
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let (mut session, peer) = pair();
        let (control, second) = pair();
        let mut control = Some(control);
        let stdout = File::from(slave);
        let with = Foreground { tty: true, ..plain(&[], None, &stdout, &stdout) };
        let mut connect = || {
            peer.exited(0);
            Ok(control.take())
        };
        assert_eq!(foreground(&mut session, with, &mut connect, &mut |_| {}).unwrap(), ended(0));
        peer.expect(Request::Resize { rows: 30, cols: 90 });
        second.expect(Request::Resize { rows: 30, cols: 90 });
    });
}
