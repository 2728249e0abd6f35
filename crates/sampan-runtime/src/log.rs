//! Where messages go: stderr always, and the file of `--log`, from which containerd, podman and docker read the last
//! error.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use fault::{Fault, Report};

use crate::args::{Global, LogFormat};

/// Reports the error with which the command ends.
pub(crate) fn error(global: &Global, error: &dyn Fault) {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    // One line: the callers show the last one.
    write(global, "error", &format!("{error}{hint}"));
    // stderr may be closed; there is nowhere else to say it.
    let _ = writeln!(std::io::stderr(), "sampan-runtime: {}", Report(error));
}

/// Reports something that does not stop the command.
pub(crate) fn warning(global: &Global, message: &str) {
    write(global, "warning", message);
    let _ = writeln!(std::io::stderr(), "sampan-runtime: warning: {message}");
}

/// One line in logrus's formats, which the callers parse.
fn write(global: &Global, level: &str, message: &str) {
    let Some(path) = &global.log else { return };
    let time = jiff::Timestamp::now().to_string();
    let line = match global.log_format {
        LogFormat::Json => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
    };
    let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
        let _ = writeln!(std::io::stderr(), "sampan-runtime: warning: {}: {error}", path.display());
    }
}
