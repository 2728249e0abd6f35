//! One line of comma-separated fields, as `--mount` has them: a field in double quotes may hold commas, and quotes
//! doubled (RFC 4180).

use super::Parsed;

/// The fields of a line.
pub(super) fn fields(line: &str) -> Parsed<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, behind) = rest.split_at(end);
                if field.contains('"') {
                    return Err(format!("a quote in the middle of the field '{field}'"));
                }
                (field.to_owned(), behind)
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(fields),
            None => return Err(format!("'{behind}' behind a closing quote")),
        }
    }
}

/// A field whose opening quote has been read, and what is behind its closing one.
fn quoted(mut rest: &str) -> Parsed<(String, &str)> {
    let mut field = String::new();
    loop {
        let (part, behind) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        for (line, wanted) in [
            ("", &[""][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a,", &["a", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"a\"\"b\"", &["a\"b"]),
            ("\"\"", &[""]),
        ] {
            assert_eq!(fields(line).unwrap(), wanted, "{line}");
        }
        for bad in ["\"", "\"a", "a\"b", "\"a\"b", "\"a\"\"", "x,\"y"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn quoted_fields_come_back(wanted in prop::collection::vec(any::<String>(), 1..5)) {
            let line: Vec<_> = wanted.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            prop_assert_eq!(fields(&line.join(",")).unwrap(), wanted);
        }

        #[test]
        fn any_text_is_read_or_refused(line in "[a\",]{0,12}") {
            let _ = fields(&line);
        }
    }
}
