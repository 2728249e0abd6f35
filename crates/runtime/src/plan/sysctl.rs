//! `linux.sysctl`: only keys that belong to a namespace the container has of its own.

use std::collections::HashMap;

use linux::Namespaces;

use super::{NamespacePlan, budget};
use crate::{Error, Result};

/// Keys of the ipc namespace under `kernel.` (`ipc_namespaces(7)`).
const IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.auto_msgmni",
];

pub(super) fn plan(
    entries: Option<&HashMap<String, String>>,
    namespaces: &NamespacePlan,
) -> Result<Vec<(String, String)>> {
    let Some(entries) = entries else { return Ok(Vec::new()) };
    budget("linux.sysctl", entries.len())?;
    let mut list = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let field = || format!("linux.sysctl[{key:?}]");
        // Both spellings are in use: net.ipv4.ip_forward and net/ipv4/ip_forward. With slashes, a dot is a dot, as in
        // the name of a VLAN device (sysctl.d(5)).
        let slashed = match (key.find('/'), key.find('.')) {
            (Some(slash), Some(dot)) if slash < dot => key.clone(),
            (Some(_), None) => key.clone(),
            _ => key
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
        };
        let fine = |part: &str| {
            !part.is_empty()
                && part != ".."
                && part != "."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:@".contains(&b))
        };
        if slashed.len() > 256 || !slashed.split('/').all(fine) {
            return Err(Error::spec(field(), "is not a name of a kernel parameter"));
        }
        if value.len() > 4096 || value.bytes().any(|b| b < b' ' && b != b'\t') {
            return Err(Error::spec(
                field(),
                "the value has control characters or is longer than 4096 bytes",
            ));
        }
        let dotted = slashed.replace('/', ".");
        check_owner(&dotted, namespaces).map_err(|reason| Error::spec(field(), reason))?;
        list.push((slashed, value.clone()));
    }
    list.sort();
    Ok(list)
}

fn check_owner(key: &str, namespaces: &NamespacePlan) -> Result<(), &'static str> {
    let needs = |kind, reason| if namespaces.has(kind) { Ok(()) } else { Err(reason) };
    if IPC.contains(&key) || key.starts_with("fs.mqueue.") {
        return needs(Namespaces::IPC, "needs an ipc namespace, else it would change the host's");
    }
    if key.starts_with("net.") {
        return needs(Namespaces::NET, "needs a network namespace, else it would change the host's");
    }
    if key.starts_with("user.") {
        return needs(Namespaces::USER, "needs a user namespace, else it would change the host's");
    }
    match key {
        "kernel.domainname" => {
            needs(Namespaces::UTS, "needs a uts namespace, else it would change the host's")
        }
        "kernel.hostname" => Err("conflicts with the field hostname; use that"),
        _ => Err("is not a parameter of a namespace: it would change the host"),
    }
}
