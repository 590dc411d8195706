"""Meta-learning for anomaly detection: the package behind the book."""

from .aadml import AADML, mgd
from .aae import AAE
from .acr import ACR
from .baselines import BatchNeighbor, Mahalanobis, NearestNeighbor
from .comparison import Comparison
from .convolutions import ConvNet
from .detector import Detector
from .empirical_bayes import EmpiricalBayes
from .episodes import Episodes, TaskFamily
from .evaluation import Evaluation, evaluate, judge
from .experienced import ExperiencedDetector
from .families.classes import class_tasks, table_tasks
from .families.common_columns import common_columns
from .families.common_tasks import common_tasks
from .families.domains import Domains, domain_tasks, leave_one_out
from .families.fleet import Fleet
from .families.glyphs import Glyphs
from .families.speakers import speaker_tasks
from .families.stored import StoredTasks
from .features import BatchFeatures, PooledFeatures
from .gaussianized import GaussianizedBayes
from .images import load_images
from .maml import MAML, Reptile
from .meta_aae import MetaAAE
from .meta_detector import MetaDetector
from .module_network import ModuleNetwork
from .networks import MLP
from .overlap import check_disjoint
from .pooled import PooledLogistic
from .protocol import Contender, compare
from .prototypes import PrototypicalDetector
from .report import Table
from .runtime import set_reproducible
from .tables import TABLES, feature_names, load_classes, load_table
from .training import meta_train, query_loss

__all__ = [
    "AADML", "AAE", "ACR", "MAML", "MLP", "TABLES", "BatchFeatures", "BatchNeighbor", "Comparison", "Contender",
    "ConvNet", "Detector", "Domains", "EmpiricalBayes", "Episodes", "Evaluation", "ExperiencedDetector", "Fleet",
    "GaussianizedBayes", "Glyphs", "Mahalanobis", "MetaAAE", "MetaDetector", "ModuleNetwork", "NearestNeighbor",
    "PooledFeatures", "PooledLogistic", "PrototypicalDetector", "Reptile", "StoredTasks", "Table", "TaskFamily",
    "check_disjoint", "class_tasks", "common_columns", "common_tasks", "compare", "domain_tasks", "evaluate",
    "feature_names", "judge", "leave_one_out", "load", "load_classes", "load_images", "load_table", "meta_train",
    "mgd", "query_loss", "set_reproducible", "speaker_tasks", "table_tasks",
]  # fmt: skip
__version__ = "0.1.0"

load = Detector.load  # a detector of any kind
