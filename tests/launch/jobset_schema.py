"""The fields of a JobSet that Kubernetes knows, as far as we may use them.

Written down from the CRD jobset.x-k8s.io/v1alpha2 (JobSet 0.8 to 0.10) and from
the API of Kubernetes 1.31. A real cluster rejects unknown fields.

A schema is a type; a set of allowed values; a list with the schema of its
items; a dict of fields, where a name with * is required; or MAP, a dict from
strings to strings. A string is a pattern.
"""

import re

MAP = 'map'
_NAME = r'[a-z0-9]([-a-z0-9.]*[a-z0-9])?'
_EXIT_CODES = {
    'containerName': _NAME,
    'operator*': {'In', 'NotIn'},
    'values*': [int],
}
_CONDITION = {'type*': str, 'status*': {'True', 'False', 'Unknown'}}
_POD_FAILURE_RULE = {
    'action*': {'FailJob', 'FailIndex', 'Ignore', 'Count'},
    'onExitCodes': _EXIT_CODES,
    'onPodConditions': [_CONDITION],
}
_VARIABLE = {
    'name*': str,
    'value': str,
    'valueFrom': {'fieldRef': {'apiVersion': str, 'fieldPath*': str}},
}
_CONTAINER = {
    'name*': _NAME,
    'image*': str,
    'command': [str],
    'args': [str],
    'env': [_VARIABLE],
    'ports': [{'containerPort*': int, 'name': str, 'protocol': str}],
    'resources': {'limits': dict, 'requests': dict},
    'securityContext': {
        'privileged': bool,
        'runAsUser': int,
        'runAsNonRoot': bool,
    },
    'volumeMounts': [{'name*': str, 'mountPath*': '/.*', 'readOnly': bool}],
}
_TOLERATION = {
    'key': str,
    'operator': {'Equal', 'Exists'},
    'value': str,
    'effect': {'NoSchedule', 'PreferNoSchedule', 'NoExecute'},
}
_POD = {
    'containers*': [_CONTAINER],
    'restartPolicy': {'Never', 'OnFailure', 'Always'},
    'terminationGracePeriodSeconds': int,
    'nodeSelector': MAP,
    'tolerations': [_TOLERATION],
    'serviceAccountName': _NAME,
    'volumes': [{'name*': _NAME, 'emptyDir': {'medium': {'', 'Memory'}}}],
}
_METADATA = {'name': _NAME, 'labels': MAP, 'annotations': MAP}
_JOB = {
    'backoffLimit': int,
    'completionMode': {'Indexed', 'NonIndexed'},
    'completions': int,
    'parallelism': int,
    'podFailurePolicy': {'rules*': [_POD_FAILURE_RULE]},
    'template*': {'metadata': _METADATA, 'spec*': _POD},
}
_FAILURE_RULE = {
    # The CRD requires a name since it has rules.
    'name*': r'[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?',
    'action*': {
        'FailJobSet',
        'RestartJobSet',
        'RestartJobSetAndIgnoreMaxRestarts',
    },
    'onJobFailureReasons': [
        {
            'BackoffLimitExceeded',
            'DeadlineExceeded',
            'FailedIndexes',
            'MaxFailedIndexesExceeded',
            'PodFailurePolicy',
        }
    ],
    'targetReplicatedJobs': [str],
}
JOB_SET = {
    'apiVersion*': {'jobset.x-k8s.io/v1alpha2'},
    'kind*': {'JobSet'},
    'metadata*': {**_METADATA, 'name*': _NAME},
    'spec*': {
        'suspend': bool,
        'network': {
            'enableDNSHostnames': bool,
            'publishNotReadyAddresses': bool,
            'subdomain': _NAME,
        },
        'successPolicy': {'operator*': {'All', 'Any'}},
        'failurePolicy': {
            'maxRestarts': int,
            'restartStrategy': {'Recreate', 'BlockingRecreate'},
            'rules': [_FAILURE_RULE],
        },
        'replicatedJobs': [
            {
                'name*': _NAME,
                'replicas': int,
                'template*': {'metadata': _METADATA, 'spec*': _JOB},
            }
        ],
        'ttlSecondsAfterFinished': int,
    },
}


def mistakes(value, schema=None, path='JobSet'):
  """Yields what is wrong with a value, with its path."""
  schema = JOB_SET if schema is None else schema
  if schema == MAP:
    wrong = not isinstance(value, dict) or any(
        not isinstance(text, str) for text in (*value, *value.values())
    )
    yield from [f'{path} must map strings to strings'] * wrong
  elif isinstance(schema, dict):
    yield from _mistakes_of_fields(value, schema, path)
  elif isinstance(schema, list):
    if not isinstance(value, list) or not value:
      yield f'{path} must be a list with items'
      return
    for i, item in enumerate(value):
      yield from mistakes(item, schema[0], f'{path}[{i}]')
  elif isinstance(schema, set):
    yield from [f'{path} must be one of {schema}'] * (value not in schema)
  elif isinstance(schema, str):
    matches = isinstance(value, str) and re.fullmatch(schema, value)
    yield from [f'{path} must match {schema}'] * (not matches)
  elif type(value) is not schema:  # A bool is no int here.
    yield f'{path} must be of type {schema.__name__}'


def _mistakes_of_fields(value, schema, path):
  if not isinstance(value, dict):
    yield f'{path} must have fields'
    return
  schemas = {name.rstrip('*'): inner for name, inner in schema.items()}
  for name in schema:
    if name.endswith('*') and name[:-1] not in value:
      yield f'{path}.{name[:-1]} is missing'
  for name, inner in value.items():
    if name not in schemas:
      yield f'{path}.{name} is unknown'
    else:
      yield from mistakes(inner, schemas[name], f'{path}.{name}')
