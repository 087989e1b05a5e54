"""Experiments: the fields of configuration files, declared once and checked.

experiment    the experiments of both stages, composed of the sections below
models        descriptions of the networks
sizes         sizes of images: a number, or height and width
sections      data, optimizer, length of a run, mesh
source_table  the table of data sources
rules         the rules that an experiment must follow to be trained
model_rules   the rules that a network must follow to be built
plain         what stands in for a ConfigDict where it is not installed
recipes       the settings that the experiments of the paper share
reading       reads configuration files and the config.json of runs
fields        how a field is declared, and which values it accepts
schema        parsing and dotted names, derived from the declarations
texts         parses field values as typed on a command line
reference     writes the page docs/config.md
"""

from rq_jax.config.experiment import Experiment
from rq_jax.config.experiment import RQTransformerExperiment
from rq_jax.config.experiment import RQVAEExperiment
from rq_jax.config.experiment import changed
from rq_jax.config.experiment import check
from rq_jax.config.experiment import check_resumable
from rq_jax.config.experiment import parse
from rq_jax.config.experiment import parse_model
from rq_jax.config.experiment import parse_stored
from rq_jax.config.experiment import template
from rq_jax.config.experiment import to_dict
from rq_jax.config.experiment import to_json
from rq_jax.config.experiment import total_steps
from rq_jax.config.experiment import with_stored
from rq_jax.config.models import DiscriminatorConfig
from rq_jax.config.models import RQTransformerConfig
from rq_jax.config.models import RQVAEConfig
from rq_jax.config.reading import load
from rq_jax.config.reading import load_model
from rq_jax.config.rules import check_seed
from rq_jax.config.schema import flatten

__all__ = [
    'DiscriminatorConfig',
    'Experiment',
    'RQTransformerConfig',
    'RQTransformerExperiment',
    'RQVAEConfig',
    'RQVAEExperiment',
    'changed',
    'check',
    'check_resumable',
    'check_seed',
    'flatten',
    'load',
    'load_model',
    'parse',
    'parse_model',
    'parse_stored',
    'template',
    'to_dict',
    'to_json',
    'total_steps',
    'with_stored',
]
