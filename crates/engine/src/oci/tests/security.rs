use seccomp::ProfileSet;

use super::super::security::{capabilities, default_filter};
use super::*;

fn caps(profile: Profile, add: &[&str], drop: &[&str]) -> Result<Vec<String>> {
    let security = Security { profile, cap_add: words(add), cap_drop: words(drop), ..Security::default() };
    let names = capabilities(&security, all_caps())?.names();
    Ok(names.into_iter().map(|name| name.replace("CAP_", "")).collect())
}

#[test]
fn capabilities_of_the_profiles() {
    let ours = caps(Profile::Default, &[], &[]).unwrap();
    let docker = caps(Profile::Docker, &[], &[]).unwrap();
    assert_eq!((ours.len(), docker.len()), (10, 14));
    assert!(ours.iter().all(|cap| docker.contains(cap)));
    assert_eq!(caps(Profile::Hardened, &[], &[]).unwrap(), ours);
    for missing in ["MKNOD", "NET_RAW", "SETFCAP", "AUDIT_WRITE"] {
        assert!(
            !ours.iter().any(|cap| cap == missing) && docker.iter().any(|cap| cap == missing),
            "{missing}"
        );
    }
}

#[test]
fn adding_and_dropping() {
    let all = capabilities(&Security { privileged: true, ..Security::default() }, all_caps());
    let all = all.unwrap().names().len();
    for (add, drop, count) in [
        (&["NET_ADMIN"][..], &[][..], 11),
        (&["CAP_NET_ADMIN", "net_admin", "CHOWN"], &[], 11),
        (&[], &["CHOWN", "cap_kill"], 8),
        // What is dropped by name wins over what is added by name, in whatever order it was said.
        (&["NET_ADMIN"], &["NET_ADMIN"], 10),
        (&["ALL"], &[], all),
        (&["all"], &["SYS_ADMIN"], all - 1),
        (&[], &["ALL"], 0),
        (&["CHOWN", "KILL"], &["ALL"], 2),
        (&["ALL", "CHOWN"], &["ALL"], 1),
        (&["CHOWN"], &["ALL", "CHOWN"], 0),
    ] {
        assert_eq!(caps(Profile::Default, add, drop).unwrap().len(), count, "+{add:?} -{drop:?}");
    }
    assert!(caps(Profile::Default, &["FLY"], &[]).is_err() && caps(Profile::Default, &[], &["FLY"]).is_err());
}

#[test]
fn nobody_gives_what_they_do_not_have() {
    let few = CapSet::from_name("CAP_CHOWN").unwrap();
    for security in [
        Security { privileged: true, ..Security::default() },
        Security { cap_add: words(&["ALL"]), ..Security::default() },
    ] {
        assert_eq!(capabilities(&security, few).unwrap(), few);
    }
}

#[test]
fn sets_of_the_process() {
    let process = &made(&spec())["process"]["capabilities"];
    assert_eq!(process["bounding"], process["effective"]);
    assert_eq!(process["permitted"], process["effective"]);
    assert!(process.get("inheritable").is_none() && process.get("ambient").is_none());
}

#[test]
fn hidden_and_read_only_paths() {
    let count = |spec: &ContainerSpec| {
        let linux = &made(spec)["linux"];
        (strings(&linux["maskedPaths"]).len(), strings(&linux["readonlyPaths"]).len())
    };
    assert_eq!(count(&spec()), (23, 5));
    assert_eq!(count(&profile(Profile::Hardened)), (23, 5));
    assert_eq!(count(&profile(Profile::Docker)), (12, 5));
    assert_eq!(count(&privileged()), (0, 0));
    assert_eq!(count(&with(|spec| spec.security.unmasked = true)), (0, 0));
    let default = made(&spec())["linux"]["maskedPaths"].clone();
    let docker = made(&profile(Profile::Docker))["linux"]["maskedPaths"].clone();
    assert!(strings(&docker).iter().all(|path| strings(&default).contains(path)));
}

#[test]
fn filters() {
    let filter = |spec: &ContainerSpec| made(spec)["linux"]["seccomp"].clone();
    assert_eq!(filter(&privileged()), Value::Null);
    assert_eq!(filter(&with(|spec| spec.security.seccomp = SeccompSpec::Unconfined)), Value::Null);
    // A built-in one is named in the monitor's task.
    assert_eq!(filter(&spec()), Value::Null);
    let custom =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let own = with(|spec| {
        spec.security.seccomp = SeccompSpec::Custom(custom.into());
        spec.security.privileged = true;
    });
    assert_eq!(filter(&own)["defaultAction"], "SCMP_ACT_ALLOW");
    for (spec, default) in [
        (spec(), Some(ProfileSet::Sampan)),
        (profile(Profile::Hardened), Some(ProfileSet::Sampan)),
        (profile(Profile::Docker), Some(ProfileSet::Docker)),
        (privileged(), None),
        (with(|spec| spec.security.seccomp = SeccompSpec::Unconfined), None),
        (own, None),
    ] {
        assert_eq!(default_filter(&spec.security).unwrap(), default);
    }
    for bad in ["", "[]", "{\"defaultAction\":\"SCMP_ACT_DANCE\"}"] {
        let bad = with(|spec| spec.security.seccomp = SeccompSpec::Custom(bad.into()));
        assert!(matches!(made_with(&bad, &facts()), Err(Error::Seccomp(_))));
    }
}
