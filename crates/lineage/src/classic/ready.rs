//! Learners that come from smartcore: multinomial naive Bayes, the decision tree, the random forest, linear regression.
//!
//! It wants dense tables, so the rows of presences are filled up with zeros here. Bernoulli's events are not used: a row is a text
//! in which every word occurs once.

use serde_json::Value;
use smartcore::ensemble::random_forest_classifier::{
    RandomForestClassifier, RandomForestClassifierParameters,
};
use smartcore::error::Failed;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::linear_regression::LinearRegression;
use smartcore::naive_bayes::multinomial::{MultinomialNB, MultinomialNBParameters};
use smartcore::tree::decision_tree_classifier::{DecisionTreeClassifier, DecisionTreeClassifierParameters};

use super::bag::Row;

/// Added to every count, so that no word makes a class impossible (Laplace).
pub(super) const ALPHA: f64 = 1.0;
/// Questions that the tree may ask one after the other.
pub(super) const DEPTH: u16 = 8;
/// Texts that a leaf of the tree has at least.
pub(super) const LEAF: usize = 4;
/// Trees of the forest.
pub(super) const TREES: u16 = 40;

fn table<T: Copy + smartcore::numbers::basenum::Number>(
    rows: &[Row],
    features: usize,
) -> Result<DenseMatrix<T>, Failed> {
    let mut values = vec![T::zero(); rows.len() * features];
    for (row, to) in rows.iter().zip(values.chunks_mut(features)) {
        row.iter().for_each(|f| to[*f as usize] = T::one());
    }
    DenseMatrix::new(rows.len(), features, values, false)
}

fn numbers(labels: &[usize]) -> Vec<u32> {
    labels.iter().map(|l| *l as u32).collect()
}

/// Naive Bayes: a class is as likely as it is frequent, times the product of how likely its words are in it.
pub(super) struct Bayes {
    model: MultinomialNB<u32, u32, DenseMatrix<u32>, Vec<u32>>,
    features: usize,
}

impl Bayes {
    /// Counts.
    ///
    /// # Errors
    /// If there are no rows or features.
    pub(super) fn fit(rows: &[Row], labels: &[usize], features: usize) -> Result<Bayes, Failed> {
        let settings = MultinomialNBParameters::default().with_alpha(ALPHA);
        let model = MultinomialNB::fit(&table(rows, features)?, &numbers(labels), settings)?;
        Ok(Bayes { model, features })
    }

    /// The likeliest class of each row.
    ///
    /// # Errors
    /// If there are no rows.
    pub(super) fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failed> {
        Ok(self.model.predict(&table(rows, self.features)?)?.into_iter().map(|c| c as usize).collect())
    }

    /// How much likelier (the logarithm) a word is in a class than in the others together.
    pub(super) fn lean(&self, feature: usize, class: usize) -> f64 {
        let all = self.model.feature_log_prob();
        let Some(i) = self.model.classes().iter().position(|c| *c as usize == class) else { return 0.0 };
        let others: f64 = (0..all.len()).filter(|j| *j != i).map(|j| all[j][feature].exp()).sum();
        all[i][feature] - (others / (all.len() - 1).max(1) as f64).ln()
    }
}

/// A decision tree: questions after words, the one first that leaves least doubt (the Gini index).
pub(super) struct Tree {
    model: DecisionTreeClassifier<f32, u32, DenseMatrix<f32>, Vec<u32>>,
    features: usize,
}

impl Tree {
    /// Grows a tree.
    ///
    /// # Errors
    /// If there are no rows or features, or fewer than two classes.
    pub(super) fn fit(rows: &[Row], labels: &[usize], features: usize) -> Result<Tree, Failed> {
        let settings =
            DecisionTreeClassifierParameters::default().with_max_depth(DEPTH).with_min_samples_leaf(LEAF);
        let model = DecisionTreeClassifier::fit(&table(rows, features)?, &numbers(labels), settings)?;
        Ok(Tree { model, features })
    }

    /// The class of each row.
    ///
    /// # Errors
    /// If there are no rows.
    pub(super) fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failed> {
        Ok(self.model.predict(&table(rows, self.features)?)?.into_iter().map(|c| c as usize).collect())
    }

    /// The first `deep` questions as text, a line each.
    pub(super) fn text(
        &self,
        deep: usize,
        word: &dyn Fn(usize) -> String,
        class: &dyn Fn(usize) -> String,
    ) -> String {
        // smartcore shows the nodes of a tree only to serde.
        let json = serde_json::to_value(&self.model).unwrap_or_default();
        let mut s = String::new();
        if let Some(nodes) = json["nodes"].as_array() {
            let classes: Vec<usize> = json["classes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .map(|c| c as usize)
                .collect();
            let name = |i: usize| class(classes.get(i).copied().unwrap_or(i));
            show(nodes, 0, deep, "", word, &name, &mut s);
        }
        s
    }
}

fn show(
    nodes: &[Value],
    at: usize,
    deep: usize,
    indent: &str,
    word: &dyn Fn(usize) -> String,
    class: &dyn Fn(usize) -> String,
    s: &mut String,
) {
    let Some(node) = nodes.get(at) else { return };
    let number = |key: &str| node[key].as_u64().map(|n| n as usize);
    // The true child is that of values up to the threshold, so of texts without the word.
    let (Some(without), Some(with)) = (number("true_child"), number("false_child")) else {
        s.push_str(&format!("{indent}→ {}\n", class(number("output").unwrap_or(0))));
        return;
    };
    if deep == 0 {
        s.push_str(&format!("{indent}… mostly {}\n", class(number("output").unwrap_or(0))));
        return;
    }
    let word_here = word(number("split_feature").unwrap_or(0));
    let inner = format!("{indent}│  ");
    s.push_str(&format!("{indent}“{word_here}” occurs\n"));
    show(nodes, with, deep - 1, &inner, word, class, s);
    s.push_str(&format!("{indent}“{word_here}” does not occur\n"));
    show(nodes, without, deep - 1, &inner, word, class, s);
}

/// A random forest: trees on random halves of the truth, each question chosen among a few random words; they vote. Breiman 2001.
pub(super) struct Forest {
    model: RandomForestClassifier<f32, u32, DenseMatrix<f32>, Vec<u32>>,
    features: usize,
    /// Share of the rows that are guessed wrong by the trees that have not seen them.
    pub out_of_bag: f64,
}

impl Forest {
    /// Grows a forest.
    ///
    /// # Errors
    /// If there are no rows or features, or fewer than two classes.
    pub(super) fn fit(rows: &[Row], labels: &[usize], features: usize, seed: u64) -> Result<Forest, Failed> {
        let (x, y) = (table(rows, features)?, numbers(labels));
        let settings = RandomForestClassifierParameters::default()
            .with_n_trees(TREES)
            .with_m(((features as f64).sqrt() as usize).max(1))
            .with_keep_samples(true)
            .with_seed(seed);
        let model = RandomForestClassifier::fit(&x, &y, settings)?;
        let guesses = model.predict_oob(&x)?;
        let wrong = guesses.iter().zip(&y).filter(|(g, y)| g != y).count();
        Ok(Forest { model, features, out_of_bag: wrong as f64 / y.len().max(1) as f64 })
    }

    /// The class of each row.
    ///
    /// # Errors
    /// If there are no rows.
    pub(super) fn predict(&self, rows: &[Row]) -> Result<Vec<usize>, Failed> {
        Ok(self.model.predict(&table(rows, self.features)?)?.into_iter().map(|c| c as usize).collect())
    }
}

/// The line through some points that has the least squares: slope and height at 0.
///
/// # Errors
/// If there are fewer than two points.
pub(super) fn line(points: &[(f64, f64)]) -> Result<(f64, f64), Failed> {
    // Here, because in scope it hides `get` of vectors.
    use smartcore::linalg::basic::arrays::Array;
    let x = DenseMatrix::new(points.len(), 1, points.iter().map(|p| p.0).collect(), false)?;
    let y: Vec<f64> = points.iter().map(|p| p.1).collect();
    let m = LinearRegression::fit(&x, &y, Default::default())?;
    Ok((*m.coefficients().get((0, 0)), *m.intercept()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Vec<Row>, Vec<usize>) {
        // Word 0 tells the class but for one row in eight; word 1 is in every second row.
        let row = |i: u32| {
            (0..2).filter(|f| if *f == 0 { (i % 2 == 1) != i.is_multiple_of(8) } else { i % 4 < 2 }).collect()
        };
        ((0..32).map(row).collect(), (0..32).map(|i| i % 2).collect())
    }

    #[test]
    fn naive_bayes_is_as_counted_by_hand() {
        // Class 0: words 0, 0, 1 in two texts; class 1: word 1 in one.
        let (rows, labels) = (vec![vec![0], vec![0, 1], vec![1]], vec![0, 0, 1]);
        let b = Bayes::fit(&rows, &labels, 2).unwrap();
        // (2 + 1) / (3 + 2) against (0 + 1) / (1 + 2).
        let expect = (0.6f64 / (1.0 / 3.0)).ln();
        assert!((b.lean(0, 0) - expect).abs() < 1e-9, "{} {expect}", b.lean(0, 0));
        assert!((b.lean(0, 1) + expect).abs() < 1e-9);
        // A text of word 1: ⅔ · ⅖ < ⅓ · ⅔ is wrong, 0.267 > 0.222.
        assert_eq!(b.predict(&[vec![1], vec![0]]).unwrap(), [0, 0]);
    }

    #[test]
    fn a_tree_is_printed_and_a_forest_knows_its_error() {
        let (rows, labels) = rows();
        let t = Tree::fit(&rows, &labels, 2).unwrap();
        let text = t.text(1, &|f| ["one", "two"][f].into(), &|c| ["no", "yes"][c].into());
        assert!(
            text.starts_with("“one” occurs\n│  ") && text.contains("yes") && text.contains("does not occur"),
            "{text}"
        );
        let right = t.predict(&rows).unwrap().iter().zip(&labels).filter(|(a, b)| a == b).count();
        assert_eq!(right, 28);
        let f = Forest::fit(&rows, &labels, 2, 1).unwrap();
        assert_eq!(
            f.predict(&rows).unwrap(),
            Forest::fit(&rows, &labels, 2, 1).unwrap().predict(&rows).unwrap()
        );
        assert!((0.05..0.4).contains(&f.out_of_bag), "{}", f.out_of_bag);
    }

    #[test]
    fn the_line_is_that_of_the_normal_equations() {
        let points = [(1.0, 2.0), (2.0, 3.0), (4.0, 7.0), (5.0, 8.0)];
        // x̄ = 3, ȳ = 5, Σ(x − x̄)(y − ȳ) = 6 + 2 + 2 + 6 = 16, Σ(x − x̄)² = 10.
        let (slope, height) = line(&points).unwrap();
        assert!((slope - 1.6).abs() < 1e-9 && (height - 0.2).abs() < 1e-9, "{slope} {height}");
    }
}
