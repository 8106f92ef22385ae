//! Columns as docker sets them: each as wide as its widest cell and three spaces, ten at least, the last one
//! as it is.

/// Space between two columns.
const PADDING: usize = 3;

/// Least width of a column.
const WIDTH_MIN: usize = 10;

/// Sets rows (the header first) in columns.
pub fn render(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(|column| width(&rows, column)).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let used = cell.chars().count();
                text.extend(std::iter::repeat_n(' ', widths[column].saturating_sub(used)));
            }
        }
        text.push('\n');
    }
    text
}

fn width(rows: &[Vec<String>], column: usize) -> usize {
    let widest = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    (widest.unwrap_or(0) + PADDING).max(WIDTH_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_set_as_docker_sets_them() {
        let rows = [["ID", "NAME", "PORTS"], ["4swmnvougyqe", "web", "*:8080->80/tcp"], ["a", "ü", ""]];
        let text = render(rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()));
        assert_eq!(
            text,
            "ID             NAME      PORTS\n\
             4swmnvougyqe   web       *:8080->80/tcp\n\
             a              ü         \n"
        );
    }
}
