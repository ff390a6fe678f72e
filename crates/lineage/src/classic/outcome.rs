//! What a suite finds: who took part, how right each was, and what can be read in it.

use pupil_train::step::Diverged;
use serde::{Deserialize, Serialize};

use super::neuron::{Perceptron, TwoLayers};

/// Which learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learner {
    /// Lists of words made by hand.
    Rules,
    /// Naive Bayes.
    Bayes,
    /// Maximum entropy.
    MaxEnt,
    /// The linear support vector machine.
    Svm,
    /// The decision tree.
    Tree,
    /// The random forest.
    Forest,
    /// Boosted stumps.
    Boosting,
    /// A one-dimensional convolution.
    Convolution,
    /// A long short-term memory.
    Lstm,
    /// A small BERT that has read all texts before, without their classes.
    Bert,
    /// The hidden Markov model.
    Hmm,
    /// A conditional random field that sees what the hidden Markov model sees.
    CrfSame,
    /// Maximum entropy for each word by itself.
    MaxEntTagger,
    /// A conditional random field that sees everything.
    Crf,
}

use Learner::{
    Bert, Boosting, Convolution, CrfSame, Forest as RandomForest, Lstm, MaxEntTagger, Tree as DecisionTree,
};

/// Those that tell the class of a text, in the order in which they are shown.
pub const CLASSIFIERS: [Learner; 10] = [
    Learner::Rules,
    Learner::Bayes,
    Learner::MaxEnt,
    Learner::Svm,
    DecisionTree,
    RandomForest,
    Boosting,
    Convolution,
    Lstm,
    Bert,
];
/// Those that tag.
pub const TAGGERS: [Learner; 4] = [Learner::Hmm, CrfSame, MaxEntTagger, Learner::Crf];

impl Learner {
    /// Whether it is a network.
    pub fn is_deep(self) -> bool {
        matches!(self, Convolution | Lstm | Bert)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Learner::Rules => "rules by hand",
            Learner::Bayes => "naive Bayes",
            Learner::MaxEnt => "MaxEnt",
            Learner::Svm => "linear SVM",
            DecisionTree => "decision tree",
            RandomForest => "random forest",
            Boosting => "boosting",
            Convolution => "CNN",
            Lstm => "LSTM",
            Bert => "BERT",
            Learner::Hmm => "HMM",
            CrfSame => "CRF, same features",
            MaxEntTagger => "MaxEnt tagger",
            Learner::Crf => "CRF, all features",
        }
    }
}

/// The accuracy of a learner with so much to learn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Which.
    pub learner: Learner,
    /// Texts or sentences that it learned from.
    pub size: usize,
    /// Share of the held-out texts or words told right, for each split.
    pub accuracies: Vec<f64>,
    /// Of taggers: the same for words that were not in what was learned from.
    pub unknown: Vec<f64>,
    /// Seconds of learning on average.
    pub seconds: f64,
}

impl Point {
    /// The mean over the splits.
    pub fn mean(&self) -> f64 {
        mean(&self.accuracies)
    }

    /// The standard deviation between the splits.
    pub fn deviation(&self) -> f64 {
        let (n, m) = (self.accuracies.len() as f64, self.mean());
        (self.accuracies.iter().map(|a| (a - m).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
    }
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What is to be read in the learners of texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// Words that speak most for each class in naive Bayes.
    pub bayes: Vec<Vec<(String, f64)>>,
    /// The same of MaxEnt.
    pub maxent: Vec<Vec<(String, f64)>>,
    /// The same of the support vector machine.
    pub svm: Vec<Vec<(String, f64)>>,
    /// Steps of MaxEnt, its loss for each text at the end, and whether it has converged.
    pub converged: (usize, f64, bool),
    /// Width of the margin, objective, gap to the optimum and number of support vectors of the first machine.
    pub margin: (f64, f64, f64, usize),
    /// The tree as text.
    pub tree: String,
    /// Share of wrong guesses of the forest by trees that had not seen the text, and on the held-out texts.
    pub forest: (f64, f64),
    /// Error after each round of boosting, on what was learned from and on what was held out.
    pub boosting: Vec<(f64, f64)>,
    /// The first questions of boosting, with their votes.
    pub questions: Vec<(String, String, f64)>,
}

/// One of the tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Texts or sentences that there are.
    pub count: usize,
    /// Words in them.
    pub words: usize,
    /// Texts or sentences held out of each split.
    pub held_out: usize,
    /// Classes or tags.
    pub classes: Vec<String>,
    /// Share of the commonest class among the held-out texts or words: what guessing gives.
    pub guess: f64,
    /// Every learner with every size.
    pub points: Vec<Point>,
}

impl Task {
    /// The point of a learner with most data.
    pub fn last(&self, learner: Learner) -> Option<&Point> {
        self.points.iter().filter(|p| p.learner == learner).max_by_key(|p| p.size)
    }
}

/// A held-out sentence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Its words.
    pub words: Vec<String>,
    /// Their tags.
    pub tags: Vec<String>,
    /// What each tagger said.
    pub said: Vec<(Learner, Vec<String>)>,
}

/// The settings of the learners, for whoever wants to do the same elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Of splits and of learners that draw lots.
    pub seed: u64,
    /// Words that become features at most.
    pub features: usize,
    /// Added to the counts of naive Bayes.
    pub alpha: f64,
    /// Penalties.
    pub c_maxent: f64,
    /// See `c_maxent`.
    pub c_taggers: f64,
    /// See `c_maxent`.
    pub c_same: f64,
    /// Depth of the tree.
    pub depth: u16,
    /// Texts of one of its leaves at least.
    pub leaf: usize,
    /// Trees of the forest.
    pub trees: u16,
    /// Rounds of boosting.
    pub rounds: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the learners were set.
    pub settings: Settings,
    /// One neuron on the three gates.
    pub perceptrons: Vec<Perceptron>,
    /// Two layers on XOR.
    pub two_layers: TwoLayers,
    /// Points of the toy table, and the slope and height of the line.
    pub regression: (Vec<(f64, f64)>, f64, f64),
    /// Classes of texts.
    pub texts: Task,
    /// Tags of words.
    pub tags: Task,
    /// What the learners of texts say of themselves.
    pub inside: Inside,
    /// A held-out sentence, and what each tagger said.
    pub example: Example,
    /// Seconds that all the classical learners took together.
    pub classical_seconds: f64,
    /// Seconds of the networks.
    pub deep_seconds: f64,
}

/// Why a suite ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is too little to learn from.
    #[error("{0}")]
    TooLittle(String),
    /// A learner of smartcore.
    #[error("{learner}: {what}")]
    Learner {
        /// Which.
        learner: &'static str,
        /// Its words.
        what: String,
    },
    /// A network.
    #[error(transparent)]
    Network(#[from] Diverged),
    /// A BERT.
    #[error("BERT: {0}")]
    Bert(String),
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}
