//! Tables as docker prints them: columns three spaces apart, the last one unpadded.

/// Renders rows under their headings, one line each.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    [line(headings.to_vec())].into_iter().chain(body).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_three_apart() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["longer".to_owned(), "c".to_owned()]];
        assert_eq!(super::render(&["ONE", "TWO"], &rows), "ONE      TWO\na        bb\nlonger   c\n");
    }
}
