//! A straight line through points: least squares.

/// `y = start + slope · x`.
pub struct Line {
    pub start: f64,
    pub slope: f64,
    /// Share of the variance of y that the line explains (R²).
    pub explained: f64,
}

impl Line {
    /// Through two points or more, of which not all have one x.
    pub fn through(points: &[(f64, f64)]) -> Line {
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            let terms = points.iter().map(|(x, y)| term(x - mean_x, y - mean_y));
            terms.sum()
        };
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        let slope = xy / xx;
        Line {
            start: mean_y - slope * mean_x,
            slope,
            explained: xy * xy / (xx * yy),
        }
    }
}
