"""Meta-learning for anomaly detection: the package behind the book."""

from .aadml import AADML, mgd
from .aae import AAE
from .acr import ACR
from .adapt import adapt
from .baselines import Mahalanobis, NearestNeighbor
from .detector import Detector, MetaDetector
from .episodes import Episodes, TaskFamily, check_disjoint
from .evaluation import Evaluation, evaluate, judge
from .families.classes import class_tasks, table_tasks
from .families.domains import Domains, domain_tasks, leave_one_out
from .families.fleet import Fleet
from .families.glyphs import Glyphs
from .families.tables import TABLES, feature_names, load_classes, load_table
from .maml import MAML, Reptile
from .meta_aae import MetaAAE
from .networks import MLP, ConvNet, ModuleNetwork
from .prototypes import PrototypicalDetector
from .runtime import set_reproducible

__all__ = [
    "AADML",
    "AAE",
    "ACR",
    "MAML",
    "MLP",
    "TABLES",
    "ConvNet",
    "Detector",
    "Domains",
    "Episodes",
    "Evaluation",
    "Fleet",
    "Glyphs",
    "Mahalanobis",
    "MetaAAE",
    "MetaDetector",
    "ModuleNetwork",
    "NearestNeighbor",
    "PrototypicalDetector",
    "Reptile",
    "TaskFamily",
    "adapt",
    "check_disjoint",
    "class_tasks",
    "domain_tasks",
    "evaluate",
    "feature_names",
    "judge",
    "leave_one_out",
    "load_classes",
    "load_table",
    "mgd",
    "set_reproducible",
    "table_tasks",
]
__version__ = "0.1.0"
