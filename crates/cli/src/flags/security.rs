//! Confinement: `--cap-add`, `--cap-drop`, `--security-opt`, `--privileged`, `--profile`.

use std::path::Path;

use engine::spec::{Profile, SeccompSpec, Security};

use super::{FlagError, Parsed, read_file};

/// Most bytes of a seccomp profile.
const PROFILE_BUDGET: u64 = 1 << 20;

/// What `--security-opt` can be about, for the message on anything else.
const OPTIONS: &str = "no-new-privileges, seccomp, apparmor, label or systempaths";

/// `--profile`.
pub(super) fn profile(text: &str) -> Parsed<Profile> {
    match text {
        "default" => Ok(Profile::Default),
        "docker" => Ok(Profile::Docker),
        "hardened" => Ok(Profile::Hardened),
        _ => Err("there is no such profile; there are default, docker and hardened".into()),
    }
}

/// A capability in upper case, as given with or without `CAP_`; or `ALL`.
pub(super) fn capability(text: &str) -> Parsed<String> {
    let name = text.to_ascii_uppercase();
    let full = if name.starts_with("CAP_") { name.clone() } else { format!("CAP_{name}") };
    if name == "ALL" || linux::CapSet::from_name(&full).is_some() {
        return Ok(name);
    }
    Err(format!("invalid capability: {text:?}"))
}

/// Takes one `--security-opt` into `security`.
pub(super) fn option(text: &str, security: &mut Security) -> Result<(), FlagError> {
    let invalid = FlagError::of("security-opt", text);
    // The older form has a colon; a value may have either sign in it.
    let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
        // `no-new-privileges:x=y` is split at the colon, too, so that the message names the option.
        Some((key, _)) if key.contains(':') => text.split_once(':').unwrap_or((text, "")),
        Some(parts) => parts,
        None if text == "no-new-privileges" => (text, "true"),
        None => return Err(invalid(format!("invalid --security-opt: {text:?}"))),
    };
    if value.is_empty() {
        return Err(invalid(format!("invalid --security-opt: {text:?}: a value is missing")));
    }
    match key {
        "no-new-privileges" => {
            security.no_new_privileges = Some(super::boolean(value).map_err(invalid)?);
        }
        "seccomp" => security.seccomp = seccomp(value)?,
        "apparmor" => security.apparmor = Some(value.to_owned()),
        "label" => security.label.push(label(value).map_err(invalid)?),
        "systempaths" if value == "unconfined" => security.unmasked = true,
        "systempaths" => return Err(invalid("systempaths can only be unconfined".into())),
        _ => return Err(invalid(format!("there is no option {key:?}; there are {OPTIONS}"))),
    }
    Ok(())
}

fn seccomp(value: &str) -> Result<SeccompSpec, FlagError> {
    match value {
        "unconfined" => return Ok(SeccompSpec::Unconfined),
        "builtin" => return Ok(SeccompSpec::Default),
        _ => {}
    }
    let bytes = read_file(Path::new(value), PROFILE_BUDGET).map_err(|source| FlagError::File {
        flag: "security-opt seccomp",
        path: value.into(),
        source,
    })?;
    let document: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
        FlagError::of("security-opt", value)(format!("the seccomp profile is not valid JSON: {error}"))
    })?;
    Ok(SeccompSpec::Custom(document.to_string()))
}

/// An SELinux label's part.
fn label(value: &str) -> Parsed<String> {
    let known = ["user", "role", "type", "level", "filetype"];
    let part = value.split_once(':').is_some_and(|(key, rest)| known.contains(&key) && !rest.is_empty());
    if value == "disable" || part {
        return Ok(value.to_owned());
    }
    Err("a label is disable, or user, role, type, level or filetype with a colon and a value".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Security, FlagError> {
        let mut security = Security::default();
        option(text, &mut security).map(|()| security)
    }

    #[test]
    fn options() {
        let with = |change: fn(&mut Security)| {
            let mut security = Security::default();
            change(&mut security);
            security
        };
        for (text, wanted) in [
            ("no-new-privileges", with(|s| s.no_new_privileges = Some(true))),
            ("no-new-privileges:true", with(|s| s.no_new_privileges = Some(true))),
            ("no-new-privileges=false", with(|s| s.no_new_privileges = Some(false))),
            ("seccomp=unconfined", with(|s| s.seccomp = SeccompSpec::Unconfined)),
            ("seccomp:unconfined", with(|s| s.seccomp = SeccompSpec::Unconfined)),
            ("seccomp=builtin", Security::default()),
            ("apparmor=unconfined", with(|s| s.apparmor = Some("unconfined".into()))),
            ("apparmor:my=profile", with(|s| s.apparmor = Some("my=profile".into()))),
            ("label=disable", with(|s| s.label = vec!["disable".into()])),
            ("label=level:s0:c1,c2", with(|s| s.label = vec!["level:s0:c1,c2".into()])),
            ("label:type:svirt_t", with(|s| s.label = vec!["type:svirt_t".into()])),
            ("systempaths=unconfined", with(|s| s.unmasked = true)),
        ] {
            assert_eq!(read(text).unwrap(), wanted, "{text}");
        }
        for bad in [
            "",
            "=",
            ":",
            "seccomp",
            "seccomp=",
            "apparmor",
            "apparmor=",
            "label",
            "label=",
            "label=colour:x",
            "label=user:",
            "systempaths=all",
            "no-new-privileges=",
            "no-new-privileges:maybe",
            "magic=on",
            "seccomp=/no/such/file",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seccomp_profiles_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("seccomp={}", file.path().display());
        std::fs::write(file.path(), "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
        let custom = SeccompSpec::Custom("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}".into());
        assert_eq!(read(&text).unwrap().seccomp, custom);
        std::fs::write(file.path(), "{").unwrap();
        assert!(read(&text).unwrap_err().to_string().contains("not valid JSON"));
        std::fs::write(file.path(), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read(&text).unwrap_err().to_string().contains("larger"));
    }

    #[test]
    fn capabilities_and_profiles() {
        assert_eq!(capability("net_admin").unwrap(), "NET_ADMIN");
        assert_eq!(capability("cap_sys_ptrace").unwrap(), "CAP_SYS_PTRACE");
        assert_eq!(capability("all").unwrap(), "ALL");
        for bad in ["", "CAP_", "CAP_ALL", "net-admin", "NOPE", "CAP_CAP_CHOWN"] {
            assert!(capability(bad).is_err(), "{bad}");
        }
        assert_eq!(profile("hardened").unwrap(), Profile::Hardened);
        assert!(profile("Hardened").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[^/]*", rest in "(label|apparmor|no-new-privileges)[=:].*") {
            let _ = (read(&text), read(&rest), capability(&text), profile(&text), label(&text));
        }
    }
}
