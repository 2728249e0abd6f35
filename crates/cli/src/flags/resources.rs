//! Limits: memory, processors, processes, ulimits, devices, kernel parameters.

use engine::spec::{DeviceSpec, Resources, Ulimit};

use super::{ContainerFlags, FlagError, Parsed, mounts, size};

/// The least memory that docker gives a container.
const MIN_MEMORY: u64 = 6 << 20;
/// A hundredth of a processor: the kernel's least quota, 1 ms, of the default period.
const MIN_NANO_CPUS: u64 = 10_000_000;
/// Numbers of processors and memory nodes end somewhere below.
const MAX_CPU: u32 = 8192;

/// What docker knows as `--ulimit`.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Every limit of the command line.
pub(super) fn resources(flags: &ContainerFlags) -> Result<Resources, FlagError> {
    let mut resources = Resources {
        cpu_shares: flags.cpu_shares.filter(|shares| *shares > 0),
        cpuset_cpus: each("cpuset-cpus", &flags.cpuset_cpus, number_list)?.flatten(),
        cpuset_mems: each("cpuset-mems", &flags.cpuset_mems, number_list)?.flatten(),
        // Docker's 0 is -1.
        pids_limit: flags.pids_limit.map(|limit| if limit > 0 { limit } else { -1 }),
        ..Resources::default()
    };
    memory(flags, &mut resources)?;
    processor_time(flags, &mut resources)?;
    for text in &flags.ulimit {
        let limit = ulimit(text).map_err(FlagError::of("ulimit", text))?;
        resources.ulimits.retain(|other| other.name != limit.name);
        resources.ulimits.push(limit);
    }
    for text in &flags.device {
        resources.devices.push(device(text).map_err(FlagError::of("device", text))?);
    }
    for text in &flags.sysctl {
        let (key, value) = sysctl(text).map_err(FlagError::of("sysctl", text))?;
        resources.sysctls.insert(key, value);
    }
    Ok(resources)
}

fn memory(flags: &ContainerFlags, resources: &mut Resources) -> Result<(), FlagError> {
    let given = |limit: Option<u64>| limit.filter(|bytes| *bytes > 0);
    let memory = given(each("memory", &flags.memory, size::parse)?);
    let reservation = given(each("memory-reservation", &flags.memory_reservation, size::parse)?);
    let swap = each("memory-swap", &flags.memory_swap, memory_swap)?.filter(|bytes| *bytes != 0);
    let refuse = |text: &str| Err(FlagError::Conflict(text.into()));
    if memory.is_some_and(|bytes| bytes < MIN_MEMORY) {
        return refuse("minimum memory limit allowed is 6MB");
    }
    if reservation.is_some_and(|bytes| bytes < MIN_MEMORY) {
        return refuse("minimum memory reservation allowed is 6MB");
    }
    match (memory, swap) {
        (None, Some(1..)) => {
            return refuse("you should always set the memory limit when using the memoryswap limit");
        }
        (Some(memory), Some(swap @ 1..)) if swap.unsigned_abs() < memory => {
            return refuse("minimum memoryswap limit should be larger than memory limit");
        }
        _ => {}
    }
    if let (Some(memory), Some(reservation)) = (memory, reservation)
        && memory < reservation
    {
        return refuse("minimum memory limit can not be less than memory reservation limit");
    }
    (resources.memory, resources.memory_swap, resources.memory_reservation) = (memory, swap, reservation);
    Ok(())
}

fn memory_swap(text: &str) -> Parsed<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    size::parse(text).map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// `--cpus`, or `--cpu-quota` and `--cpu-period`.
fn processor_time(flags: &ContainerFlags, resources: &mut Resources) -> Result<(), FlagError> {
    let conflict = |text: &str| Err(FlagError::Conflict(text.into()));
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    let (period, quota) = (given(flags.cpu_period), given(flags.cpu_quota));
    if let Some(nano) = each("cpus", &flags.cpus, size::nano_cpus)?.filter(|nano| *nano > 0) {
        if period.is_some() {
            return conflict("conflicting options: --cpus and --cpu-period cannot both be set");
        }
        if quota.is_some() {
            return conflict("conflicting options: --cpus and --cpu-quota cannot both be set");
        }
        if nano < MIN_NANO_CPUS {
            return conflict("range of CPUs begins with 0.01");
        }
        resources.nano_cpus = Some(nano);
        return Ok(());
    }
    if period.is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        return conflict(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if quota.is_some_and(|quota| (1..1000).contains(&quota)) {
        return conflict("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    (resources.cpu_period, resources.cpu_quota) = (period.map(i64::unsigned_abs), quota);
    Ok(())
}

/// `0-3,7`; none for the empty text.
fn number_list(text: &str) -> Parsed<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number < MAX_CPU)
    };
    let part = |part: &str| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
    };
    if text.split(',').all(part) {
        return Ok(Some(text.to_owned()));
    }
    Err("a list has numbers and ranges, such as 0-3,7".into())
}

/// `NAME=SOFT[:HARD]`; -1 is infinity.
fn ulimit(text: &str) -> Parsed<Ulimit> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        let number = text.parse::<i64>().ok().filter(|number| *number >= -1);
        number.ok_or_else(|| format!("invalid ulimit value: {text:?}"))
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if hard.contains(':') {
        return Err(format!(
            "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        ));
    }
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `HOST[:CONTAINER][:ACCESS]`.
fn device(text: &str) -> Parsed<DeviceSpec> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts[..] {
        _ if parts[0].is_empty() => return Err(format!("bad format for path: {text}")),
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, container] => (host, container, "rwm"),
        [host, container, access] if is_access(access) => (host, container, access),
        [_, _, access] => return Err(format!("bad mode specified: {access}")),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if !host.starts_with('/') && host.contains('=') {
        return Err("devices by a CDI name are not supported".into());
    }
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(format!("{path} is not an absolute path"));
        }
    }
    Ok(DeviceSpec {
        host: mounts::clean(host).into(),
        container: mounts::clean(container).into(),
        access: access.to_owned(),
    })
}

/// Letters of `rwm`, each once.
fn is_access(text: &str) -> bool {
    let once = |letter: char| "rwm".contains(letter) && text.matches(letter).count() == 1;
    !text.is_empty() && text.chars().all(once)
}

/// `KEY=VALUE`, of those that belong to a namespace of the container; the engine looks at them more closely.
fn sysctl(text: &str) -> Parsed<(String, String)> {
    let known = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match text.split_once('=') {
        Some((key, value))
            if known.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.") =>
        {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// Reads a flag if it was given.
fn each<T>(
    flag: &'static str,
    text: &Option<String>,
    read: impl FnOnce(&str) -> Parsed<T>,
) -> Result<Option<T>, FlagError> {
    text.as_deref().map(|text| read(text).map_err(FlagError::of(flag, text))).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::tests::flags;
    use super::*;
    use proptest::prelude::*;

    fn read(args: &[&str]) -> Result<Resources, String> {
        resources(&flags(args)).map_err(|error| error.to_string())
    }

    #[test]
    fn memory_limits() {
        for (args, memory, swap, reservation) in [
            (&["-m", "6m"][..], Some(6 << 20), None, None),
            (&["--memory=1g", "--memory-swap=1.5g"], Some(1 << 30), Some(3 << 29), None),
            (&["-m1g", "--memory-swap", "-1"], Some(1 << 30), Some(-1), None),
            (&["--memory-swap", "-1"], None, Some(-1), None),
            (&["-m", "8m", "--memory-reservation", "7m"], Some(8 << 20), None, Some(7 << 20)),
            (&["-m", "0", "--memory-swap", "0", "--memory-reservation", "0"], None, None, None),
        ] {
            let got = read(args).unwrap();
            assert_eq!(
                (got.memory, got.memory_swap, got.memory_reservation),
                (memory, swap, reservation),
                "{args:?}"
            );
        }
        for (args, why) in [
            (&["-m", "5m"][..], "minimum memory limit allowed is 6MB"),
            (&["--memory-reservation", "1k"], "minimum memory reservation"),
            (&["-m", "64m", "--memory-swap", "32m"], "should be larger than memory limit"),
            (&["--memory-swap", "32m"], "always set the memory limit"),
            (&["-m", "64m", "--memory-reservation", "65m"], "less than memory reservation"),
            (&["-m", "lots"], "invalid argument \"lots\" for \"--memory\" flag: invalid size: 'lots'"),
            (&["-m", "-1"], "invalid size"),
            (&["-m", "64m", "--memory-swap", "-2"], "invalid size"),
        ] {
            let error = read(args).unwrap_err();
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }

    #[test]
    fn processors() {
        for (args, nano, period, quota) in [
            (&["--cpus", "1.5"][..], Some(1_500_000_000), None, None),
            (&["--cpus", "0"], None, None, None),
            (&["--cpu-quota", "50000"], None, None, Some(50_000)),
            (&["--cpu-period", "50000", "--cpu-quota", "25000"], None, Some(50_000), Some(25_000)),
            (&["--cpu-period", "50000"], None, Some(50_000), None),
            (&["--cpu-quota", "-1"], None, None, Some(-1)),
            (&["--cpu-quota", "0", "--cpu-period", "0"], None, None, None),
        ] {
            let got = read(args).unwrap();
            assert_eq!((got.nano_cpus, got.cpu_period, got.cpu_quota), (nano, period, quota), "{args:?}");
        }
        for args in [
            &["--cpus", "0.001"][..],
            &["--cpus", "1", "--cpu-quota", "1000"],
            &["--cpus", "1", "--cpu-period", "1000"],
            &["--cpu-quota", "999"],
            &["--cpu-quota", "1000", "--cpu-period", "999"],
            &["--cpu-period", "1000001"],
            &["--cpuset-cpus", "3-1"],
            &["--cpuset-cpus", "a"],
            &["--cpuset-mems", "1,"],
        ] {
            assert!(read(args).is_err(), "{args:?}");
        }
        let got = read(&["-c", "512", "--cpuset-cpus", "0-2,4", "--cpuset-mems", "0"]).unwrap();
        assert_eq!(
            (got.cpu_shares, got.cpuset_cpus.as_deref(), got.cpuset_mems.as_deref()),
            (Some(512), Some("0-2,4"), Some("0"))
        );
        assert_eq!(read(&["--cpu-shares=0", "--cpuset-cpus="]).unwrap(), Resources::default());
        for (args, limit) in
            [(["--pids-limit", "9"], 9), (["--pids-limit", "0"], -1), (["--pids-limit", "-1"], -1)]
        {
            assert_eq!(read(&args).unwrap().pids_limit, Some(limit));
        }
    }

    #[test]
    fn ulimits() {
        for (text, soft, hard) in [
            ("nofile=512", 512, 512),
            ("nofile=512:1024", 512, 1024),
            ("core=-1", -1, -1),
            ("nproc=5:-1", 5, -1),
        ] {
            let got = ulimit(text).unwrap();
            assert_eq!((got.soft, got.hard), (soft, hard), "{text}");
        }
        for bad in [
            "",
            "nofile",
            "nofile=",
            "as=1",
            "NOFILE=1",
            "nofile=1:2:3",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=-2",
            "nofile=x",
        ] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
        assert_eq!(read(&["--ulimit", "core=1", "--ulimit", "core=2"]).unwrap().ulimits.len(), 1);
    }

    #[test]
    fn devices() {
        for (text, host, container, access) in [
            ("/dev/snd", "/dev/snd", "/dev/snd", "rwm"),
            ("/dev/snd:rw", "/dev/snd", "/dev/snd", "rw"),
            ("/dev/snd:/something", "/dev/snd", "/something", "rwm"),
            ("/dev/snd:/something:mr", "/dev/snd", "/something", "mr"),
            ("/dev//./snd", "/dev/snd", "/dev/snd", "rwm"),
        ] {
            let got = device(text).unwrap();
            assert_eq!(
                (got.host.to_str(), got.container.to_str(), &*got.access),
                (Some(host), Some(container), access)
            );
        }
        for bad in [
            "",
            ":/x",
            "snd",
            "/dev/snd:x",
            "/dev/snd:/x:rx",
            "/dev/snd:/x:rr",
            "/a:/b:r:w",
            "/dev/snd:",
            "/dev/snd:/x:",
            "vendor.com/class=name",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sysctls() {
        assert_eq!(sysctl("net.core.somaxconn=64"), Ok(("net.core.somaxconn".into(), "64".into())));
        assert_eq!(sysctl("kernel.sem=1 2 3 4"), Ok(("kernel.sem".into(), "1 2 3 4".into())));
        for bad in ["", "net.core.somaxconn", "=1", "kernel.panic=1", "vm.swappiness=1"] {
            assert!(sysctl(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), limits in "nofile=[-:0-9]{0,24}", list in "[-,0-9]{0,16}") {
            for text in [text, limits, list] {
                let _ = (ulimit(&text), device(&text), sysctl(&text), number_list(&text), memory_swap(&text));
            }
        }
    }
}
