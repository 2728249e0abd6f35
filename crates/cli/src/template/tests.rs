use proptest::prelude::*;
use serde_json::json;

use super::Template;

fn apply(template: &str) -> Result<String, String> {
    let value = json!({
        "Id": "abc", "State": { "Running": true, "Pid": 7, "Error": "" },
        "Mounts": [{ "Source": "/a", "RW": true }, { "Source": "/b", "RW": false }],
        "Labels": { "b": "2", "a.x": "1" }, "Names": ["x", "y"], "Nothing": null,
    });
    let parsed = Template::parse(template).map_err(|error| error.to_string())?;
    parsed.apply(&value).map_err(|error| error.to_string())
}

#[test]
fn what_people_script() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{ .State.Running }} {{.State.Pid}}", "true 7"),
        ("{{json .State}}", r#"{"Error":"","Pid":7,"Running":true}"#),
        ("{{index .Labels \"a.x\"}}", "1"),
        ("{{index .Labels \"none\"}}", ""),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{range .Mounts}}{{.Source}}{{if .RW}}+{{else}}-{{end}} {{end}}", "/a+ /b- "),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}};{{end}}", "0=/a;1=/b;"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a.x=1 b=2 "),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if eq .State.Pid 7}}seven{{else if eq .State.Pid 8}}eight{{else}}other{{end}}", "seven"),
        ("{{if eq .State.Pid 9}}nine{{else if gt .State.Pid 6}}more{{end}}", "more"),
        ("{{with .State.Error}}{{.}}{{else}}fine{{end}}", "fine"),
        ("{{.Names}}", "[x y]"),
        ("{{.Labels}}", "map[a.x:1 b:2]"),
        ("{{join .Names \",\"}} {{.Id | upper | printf \"<%-5s>\"}}", "x,y <ABC  >"),
        ("a {{- \" b \" -}} c", "a b c"),
        ("{{/* comment */}}x", "x"),
        ("{{len .Names}} {{not .State.Running}}", "2 false"),
        ("{{$x := .Id}}{{$x}}{{$.Id}}", "abcabc"),
        ("{{and .State.Running .Id}} {{or .State.Error \"none\"}}", "abc none"),
        ("{{println .Id}}", "abc\n"),
        ("{{truncate .Id 2}}{{pad .Id 1 1}}", "ab abc "),
        ("{{\"{{\"}}{{`}}`}}", "{{}}"),
        ("{{range .Names}}{{if eq . \"y\"}}{{break}}{{end}}{{.}}{{end}}", "x"),
    ] {
        assert_eq!(apply(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (template, part) in [
        ("{{.Nope}}", "no entry for key \"Nope\""),
        ("{{.Id.X}}", "can't evaluate field X"),
        ("{{", "unclosed action"),
        ("{{if .Id}}", "not closed"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{nope .Id}}", "\"nope\" not defined"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id)}}", "right paren"),
        ("{{}}", "missing value"),
        ("{{.Id | }}", "missing value"),
        ("{{\"x}}", "unclosed action"),
        ("{{index .Names 9}}", "out of range"),
        ("{{$x}}", "undefined variable"),
        ("{{range .Id}}{{end}}", "can't iterate"),
        ("{{.Id 1}}", "argument to non-function"),
    ] {
        let error = apply(template).unwrap_err();
        assert!(error.contains(part), "{template}: {error}");
    }
    assert!(apply(&"{{if .Id}}".repeat(1000)).is_err());
    assert!(apply(&format!("{{{{{}.Id{}}}}}", "(".repeat(1000), ")".repeat(1000))).is_err());
}

proptest! {
    #[test]
    fn any_template_is_applied_or_refused(template in "[{}a-z.$|()\" :=,%-]{0,40}") {
        let _ = apply(&template);
    }

    #[test]
    fn any_action_is_applied_or_refused(body in any::<String>()) {
        let _ = apply(&format!("{{{{{body}}}}}"));
    }
}
