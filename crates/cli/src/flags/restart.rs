//! `--restart`.

use monitor::{RestartOn, RestartPolicy};

use super::Parsed;

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`; the empty text is `no`.
pub(super) fn parse(text: &str) -> Parsed<RestartPolicy> {
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".into());
        }
        Some((name, count)) => (name, count),
        None => (text, ""),
    };
    let max = match count {
        "" => 0,
        _ => count
            .parse::<i64>()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?,
    };
    let max = u32::try_from(max)
        .map_err(|_| "invalid restart policy: maximum retry count must be from 0 to 4294967295")?;
    let policy = match name {
        "" | "no" => RestartOn::No,
        "always" => RestartOn::Always,
        "unless-stopped" => RestartOn::UnlessStopped,
        "on-failure" => RestartOn::OnFailure,
        _ => {
            return Err(format!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    if max > 0 && policy != RestartOn::OnFailure {
        return Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".into());
    }
    Ok(RestartPolicy { policy, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn policies() {
        for (text, policy, max) in [
            ("", RestartOn::No, 0),
            ("no", RestartOn::No, 0),
            ("always", RestartOn::Always, 0),
            ("always:0", RestartOn::Always, 0),
            ("unless-stopped", RestartOn::UnlessStopped, 0),
            ("on-failure", RestartOn::OnFailure, 0),
            ("on-failure:", RestartOn::OnFailure, 0),
            ("on-failure:5", RestartOn::OnFailure, 5),
        ] {
            assert_eq!(parse(text), Ok(RestartPolicy { policy, max }), "{text}");
        }
        for (bad, why) in [
            (":1", "no policy provided"),
            ("always:2:3", "must be an integer"),
            ("on-failure:x", "must be an integer"),
            ("on-failure:-1", "must be from 0"),
            ("on-failure:9999999999", "must be from 0"),
            ("always:3", "can only be used with 'on-failure'"),
            ("Always", "unknown policy 'Always'"),
            ("sometimes", "unknown policy"),
        ] {
            assert!(parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), count in "on-failure:[-0-9]{0,25}") {
            let _ = (parse(&text), parse(&count));
        }
    }
}
