//! The JSON shapes: runtime-spec `linux.seccomp` and docker's superset of it.

use serde::{Deserialize, Serialize};

use crate::profile::{Action, Condition, Flags, Op, Profile, Rule};
use crate::{Arch, Error};

/// The longest document that is read, in bytes; docker's default is 14 KB.
const MAX_BYTES: usize = 1 << 20;
/// The most rules, names over all rules, and conditions of one rule that are taken.
const MAX_RULES: usize = 8192;
const MAX_NAMES: usize = 32_768;
const MAX_ARGS: usize = 64;

/// A `null` where Go writes one for an empty list.
fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawArg {
    pub(crate) index: u64,
    pub(crate) value: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// docker's condition on the host and the container under which a rule is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawFilter {
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) arches: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_kernel: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawRule {
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    pub(crate) action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<RawArg>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) includes: Option<RawFilter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) excludes: Option<RawFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawArchMap {
    pub(crate) architecture: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) sub_architectures: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawProfile {
    pub(crate) default_action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) architectures: Vec<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) arch_map: Vec<RawArchMap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) syscalls: Vec<RawRule>,
}

impl RawProfile {
    /// Reads JSON within the budgets; names are not looked at yet.
    pub(crate) fn read(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_BYTES {
            return Err(Error::TooLong { size: json.len(), limit: MAX_BYTES });
        }
        // serde_json limits the nesting to 128 itself.
        let raw: RawProfile = serde_json::from_slice(json).map_err(Error::Json)?;
        let names: usize = raw.syscalls.iter().map(|rule| rule.names.len()).sum();
        if raw.syscalls.len() > MAX_RULES || names > MAX_NAMES {
            return Err(Error::value(
                "syscalls",
                format!("more than {MAX_RULES} rules or {MAX_NAMES} names"),
            ));
        }
        if let Some(i) = raw.syscalls.iter().position(|rule| rule.args.len() > MAX_ARGS) {
            return Err(Error::value(
                format!("syscalls[{i}].args"),
                format!("more than {MAX_ARGS} conditions"),
            ));
        }
        Ok(raw)
    }

    /// The typed profile of the OCI fields; docker's conditions are not looked at.
    pub(crate) fn into_profile(self) -> Result<Profile, Error> {
        let default_action = Action::from_oci(&self.default_action, self.default_errno_ret, "defaultAction")?;
        let architectures = arches(&self.architectures, "architectures")?;
        let flags = self.flags.as_deref().map(flags).transpose()?;
        let rules = self
            .syscalls
            .into_iter()
            .enumerate()
            .map(|(i, rule)| rule.into_rule(i))
            .collect::<Result<Vec<_>, _>>()?;
        let profile = Profile {
            default_action,
            architectures,
            flags,
            listener_path: self.listener_path.filter(|path| !path.is_empty()),
            listener_metadata: self.listener_metadata.filter(|data| !data.is_empty()),
            rules,
        };
        profile.check()?;
        Ok(profile)
    }
}

impl RawRule {
    fn into_rule(self, i: usize) -> Result<Rule, Error> {
        let action = Action::from_oci(&self.action, self.errno_ret, &format!("syscalls[{i}].action"))?;
        let mut conditions = Vec::with_capacity(self.args.len());
        for (j, arg) in self.args.iter().enumerate() {
            let op = Op::from_oci(&arg.op).ok_or_else(|| Error::Unknown {
                at: format!("syscalls[{i}].args[{j}].op"),
                what: "operator",
                value: arg.op.clone(),
            })?;
            // An index that does not fit is refused with the others past 5.
            let index = u8::try_from(arg.index).unwrap_or(u8::MAX);
            conditions.push(Condition { index, op, value: arg.value, value_two: arg.value_two });
        }
        Ok(Rule { names: self.names, action, conditions })
    }
}

pub(crate) fn arches(names: &[String], at: &str) -> Result<Vec<Arch>, Error> {
    let parse = |(i, name): (usize, &String)| {
        Arch::from_oci(name).ok_or_else(|| Error::Unknown {
            at: format!("{at}[{i}]"),
            what: "architecture",
            value: name.clone(),
        })
    };
    names.iter().enumerate().map(parse).collect()
}

fn flags(names: &[String]) -> Result<Flags, Error> {
    let mut flags = Flags::default();
    for (i, name) in names.iter().enumerate() {
        if !flags.add(name) {
            return Err(Error::Unknown {
                at: format!("flags[{i}]"),
                what: "filter flag",
                value: name.clone(),
            });
        }
    }
    Ok(flags)
}

impl Profile {
    /// Parses a runtime-spec `linux.seccomp` object: at most 1 MiB, 8192 rules, 32768 names. Unknown fields are ignored, as the
    /// specification asks; unknown actions, operators, architectures and flags are errors that name their position.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Json`], [`Error::Unknown`], [`Error::Value`].
    pub fn parse(json: &[u8]) -> Result<Profile, Error> {
        RawProfile::read(json)?.into_profile()
    }

    /// The runtime-spec JSON of this profile.
    ///
    /// # Errors
    /// None for a profile that [`Profile::parse`] made; [`Error::Json`] is for the serializer.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self.raw()).map_err(Error::Json)
    }

    fn raw(&self) -> RawProfile {
        let (default_action, default_errno_ret) = self.default_action.oci();
        let rule = |rule: &Rule| {
            let (action, errno_ret) = rule.action.oci();
            let arg = |c: &Condition| RawArg {
                index: c.index.into(),
                value: c.value,
                value_two: c.value_two,
                op: c.op.oci_name().to_owned(),
            };
            RawRule {
                names: rule.names.clone(),
                action: action.to_owned(),
                errno_ret,
                args: rule.conditions.iter().map(arg).collect(),
                ..RawRule::default()
            }
        };
        RawProfile {
            default_action: default_action.to_owned(),
            default_errno_ret,
            architectures: self.architectures.iter().map(|arch| arch.oci_name().to_owned()).collect(),
            flags: self.flags.map(|flags| flags.names().map(str::to_owned).collect()),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls: self.rules.iter().map(rule).collect(),
            ..RawProfile::default()
        }
    }
}
