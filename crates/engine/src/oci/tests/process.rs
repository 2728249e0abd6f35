use super::*;

#[test]
fn entrypoint_and_command() {
    // The image's entrypoint and command, the request's, and what runs.
    type Row<'a> =
        (Option<&'a [&'a str]>, Option<&'a [&'a str]>, Option<&'a [&'a str]>, &'a [&'a str], &'a [&'a str]);
    let table: [Row<'_>; 8] = [
        (None, Some(&["a"]), None, &[], &["a"]),
        (Some(&["e"]), Some(&["a"]), None, &[], &["e", "a"]),
        (Some(&["e"]), Some(&["a"]), None, &["b", "c"], &["e", "b", "c"]),
        (Some(&["e"]), Some(&["a"]), Some(&["x"]), &[], &["x"]),
        (Some(&["e"]), Some(&["a"]), Some(&["x"]), &["b"], &["x", "b"]),
        (Some(&["e"]), None, Some(&[]), &["b"], &["b"]),
        (Some(&[]), Some(&["a"]), None, &[], &["a"]),
        (Some(&["e"]), None, None, &[], &["e"]),
    ];
    for (entrypoint, cmd, own_entrypoint, command, runs) in table {
        let image = Config { entrypoint: entrypoint.map(words), cmd: cmd.map(words), ..Config::default() };
        let spec = with(|spec| {
            spec.entrypoint = own_entrypoint.map(words);
            spec.command = words(command);
        });
        let merged = merge(&id(), &spec, &image, None).unwrap();
        assert_eq!(merged.args().collect::<Vec<_>>(), runs, "{entrypoint:?} {cmd:?} {own_entrypoint:?}");
    }
    let nothing = merge(&id(), &with(|spec| spec.entrypoint = Some(vec![])), &image(), None).unwrap_err();
    assert_eq!(nothing.to_string(), "no command specified");
}

#[test]
fn environment_labels_user_directory_and_stop_signal() {
    let image = Config {
        env: words(&["A=image", "B=image", "PATH=/image"]),
        labels: [("a".to_owned(), "image".to_owned()), ("b".to_owned(), "image".to_owned())].into(),
        user: "app".into(),
        working_dir: "/app".into(),
        stop_signal: Some("SIGQUIT".into()),
        ..image()
    };
    let plain = merge(&id(), &spec(), &image, Some("box")).unwrap();
    assert_eq!(plain.env, ["PATH=/image", "HOSTNAME=box", "A=image", "B=image"]);
    assert_eq!((plain.user.as_str(), plain.working_dir.as_str(), plain.stop_signal), ("app", "/app", 3));
    let own = with(|spec| {
        spec.env = words(&["B=own", "C=", "HOSTNAME=mine"]);
        spec.labels = [("b".to_owned(), "own".to_owned())].into();
        spec.user = Some("1000:1".into());
        spec.working_dir = Some("/own".into());
        spec.stop_signal = Some(10);
        spec.tty = true;
    });
    let merged = merge(&id(), &own, &image, Some("box")).unwrap();
    assert_eq!(merged.env, ["PATH=/image", "HOSTNAME=mine", "TERM=xterm", "A=image", "B=own", "C="]);
    assert_eq!(merged.labels["a"], "image");
    assert_eq!(merged.labels["b"], "own");
    assert_eq!(
        (merged.user.as_str(), merged.working_dir.as_str(), merged.stop_signal),
        ("1000:1", "/own", 10)
    );
    let without_host_name = merge(&id(), &spec(), &super::image(), None).unwrap();
    assert!(without_host_name.env.contains(&format!("HOSTNAME={}", id().short())));
}

#[test]
fn an_image_stops_by_the_signal_it_names_or_in_the_usual_way() {
    for (name, number) in
        [("SIGINT", 2), ("9", 9), ("RTMIN+3", 37), ("SIGNONSENSE", 15), ("", 15), ("999", 15)]
    {
        let image = Config { stop_signal: Some(name.into()), ..image() };
        assert_eq!(merge(&id(), &spec(), &image, None).unwrap().stop_signal, number, "{name}");
    }
}

#[test]
fn a_relative_working_directory_is_refused() {
    let relative = with(|spec| spec.working_dir = Some("app".into()));
    assert!(matches!(merge(&id(), &relative, &image(), None), Err(Error::Invalid { .. })));
}

#[test]
fn an_entry_of_the_environment_is_replaced_in_its_place() {
    let mut env = words(&["A=1", "AB=1"]);
    for entry in ["AB=2", "A=3", "C=x=y", "A"] {
        set_env(&mut env, entry);
    }
    assert_eq!(env, ["A", "AB=2", "C=x=y"]);
}

#[test]
fn limits_of_processes() {
    let limits = |spec: &ContainerSpec| made(spec)["process"]["rlimits"].clone();
    let entry = |name: &str, soft: u64, hard: u64| json!({ "type": name, "soft": soft, "hard": hard });
    let core = entry("RLIMIT_CORE", 0, 0);
    assert_eq!(limits(&spec()), json!([entry("RLIMIT_NOFILE", 1024, 524_288), core]));
    assert_eq!(limits(&profile(Profile::Docker)), json!([]));
    assert_eq!(limits(&privileged()), json!([]));
    let own = with(|spec| spec.resources.ulimits = vec![ulimit("nofile", 7, -1), ulimit("cpu", -1, -1)]);
    let nofile = entry("RLIMIT_NOFILE", 7, u64::MAX);
    assert_eq!(limits(&own), json!([core, nofile, entry("RLIMIT_CPU", u64::MAX, u64::MAX)]));
    let wrong = with(|spec| spec.resources.ulimits = vec![ulimit("NOFILE", 1, 1)]);
    assert!(made_with(&wrong, &facts()).unwrap_err().to_string().contains("it is none of"));
}

#[test]
fn no_new_privileges_follow_the_profile_unless_told() {
    for (profile, told, set) in [
        (Profile::Default, None, false),
        (Profile::Docker, None, false),
        (Profile::Hardened, None, true),
        (Profile::Hardened, Some(false), false),
        (Profile::Default, Some(true), true),
    ] {
        let spec = with(|spec| {
            spec.security.profile = profile;
            spec.security.no_new_privileges = told;
        });
        assert_eq!(made(&spec)["process"]["noNewPrivileges"], set, "{profile:?} {told:?}");
    }
}

#[test]
fn labels_of_security_modules() {
    let labelled =
        |change: fn(&mut Security)| made(&with(|spec| change(&mut spec.security)))["process"].clone();
    let plain = labelled(|_| {});
    assert!(plain.get("apparmorProfile").is_none() && plain.get("selinuxLabel").is_none());
    assert!(labelled(|s| s.apparmor = Some("unconfined".into())).get("apparmorProfile").is_none());
    assert_eq!(labelled(|s| s.apparmor = Some("mine".into()))["apparmorProfile"], "mine");
    for (parts, label) in [
        (&["type:mine_t"][..], Some("system_u:system_r:mine_t:s0")),
        (&["user:a", "role:b", "type:c", "level:s0:c1,c2"], Some("a:b:c:s0:c1,c2")),
        (&["type:a_t", "type:b_t"], Some("system_u:system_r:b_t:s0")),
        (&["disable"], None),
        (&["type:a_t", "disable"], None),
    ] {
        let process = made(&with(|spec| spec.security.label = words(parts)))["process"].clone();
        assert_eq!(process.get("selinuxLabel").and_then(Value::as_str), label, "{parts:?}");
    }
}
