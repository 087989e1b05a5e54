"""`launch/gke/jobset.sh` prints manifests that Kubernetes can read."""

import copy
import re

import pytest
import yaml

from tests.launch import clones
from tests.launch import jobset_schema
from tests.launch.clones import clone  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

SCRIPT = clones.ROOT / 'launch' / 'gke' / 'jobset.sh'
COMMON = ['--name=rqvae', '--image=region-docker.pkg.dev/p/r/rq_jax:1']
TPU = [*COMMON, '--accelerator=tpu-v6e-slice', '--topology=4x4']
GPU = [*COMMON, '--accelerator=nvidia-h100-80gb', '--gpus=8', '--hosts=4']
COMMAND = ['train', '--config=configs/digits/rqvae.py', '--workdir=gs://b/r']


def manifest(tmp_path, *flags, command=COMMAND):
  code, output, errors = clones.run(
      tmp_path, SCRIPT, '--dry_run', *flags, *command
  )
  assert (code, errors) == (0, '')
  found = yaml.safe_load(output)
  assert not list(jobset_schema.mistakes(found))
  return found


def job_of(found):
  (replicated,) = found['spec']['replicatedJobs']
  return replicated['template']['spec']


def pod_of(found):
  return job_of(found)['template']['spec']


def container_of(found):
  (container,) = pod_of(found)['containers']
  return container


def test_each_host_of_a_slice_is_a_pod_with_its_chips(tmp_path):
  found = manifest(tmp_path, *TPU, '--slices=3')
  assert found['spec']['replicatedJobs'][0]['replicas'] == 3
  # 16 chips, 4 per host.
  assert job_of(found)['completions'] == job_of(found)['parallelism'] == 4
  assert container_of(found)['resources']['limits'] == {'google.com/tpu': 4}
  assert pod_of(found)['nodeSelector'] == {
      'cloud.google.com/gke-tpu-accelerator': 'tpu-v6e-slice',
      'cloud.google.com/gke-tpu-topology': '4x4',
  }
  # A slice must not be spread over node pools.
  assert found['metadata']['annotations'] == {
      'alpha.jobset.sigs.k8s.io/exclusive-topology': (
          'cloud.google.com/gke-nodepool'
      )
  }
  assert container_of(found)['args'] == COMMAND


def test_a_topology_has_two_or_three_sides(tmp_path):
  flags = [*COMMON, '--accelerator=tpu-v5p-slice', '--topology=2x2x4']
  assert job_of(manifest(tmp_path, *flags))['completions'] == 4
  flags = [*TPU, '--chips=8']
  assert job_of(manifest(tmp_path, *flags))['completions'] == 2


def test_processes_on_gpus_are_numbered_by_kubernetes(tmp_path):
  found = manifest(tmp_path, *GPU)
  assert job_of(found)['completions'] == 4
  container = container_of(found)
  assert container['resources']['limits'] == {'nvidia.com/gpu': 8}
  assert 'securityContext' not in container
  # The host name of a pod: JobSet, replicated job, job, pod, and the subdomain.
  assert container['args'] == [
      *COMMAND,
      '--coordinator=rqvae-workers-0-0.rqvae:1234',
      '--processes=4',
      '--process=$(PROCESS)',
  ]
  (variable,) = container['env']
  assert variable['name'] == 'PROCESS'
  assert variable['valueFrom']['fieldRef']['fieldPath'] == (
      "metadata.annotations['batch.kubernetes.io/job-completion-index']"
  )


def test_one_machine_with_gpus_joins_no_other(tmp_path):
  found = manifest(tmp_path, *COMMON, '--accelerator=nvidia-l4', '--gpus=1')
  assert container_of(found)['args'] == COMMAND


def test_interruptions_restart_without_a_limit_and_errors_three_times(tmp_path):
  found = manifest(tmp_path, *TPU)
  policy = found['spec']['failurePolicy']
  assert policy['maxRestarts'] == 3
  (rule,) = policy['rules']
  assert rule['action'] == 'RestartJobSetAndIgnoreMaxRestarts'
  # Jobs that fail by one of these rules have this reason.
  assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
  exit_code, disruption = job_of(found)['podFailurePolicy']['rules']
  assert exit_code['action'] == disruption['action'] == 'FailJob'
  codes = exit_code['onExitCodes']
  assert (codes['operator'], codes['values']) == ('In', [75])
  assert codes['containerName'] == container_of(found)['name']
  assert disruption['onPodConditions'] == [
      {'type': 'DisruptionTarget', 'status': 'True'}
  ]
  # Kubernetes allows these rules only if pods are not restarted in place.
  assert pod_of(found)['restartPolicy'] == 'Never'
  assert job_of(found)['backoffLimit'] == 0


def test_kueue_starts_a_queued_job_set(tmp_path):
  found = manifest(tmp_path, *TPU, '--queue=team')
  assert found['spec']['suspend'] is True
  assert found['metadata']['labels'] == {'kueue.x-k8s.io/queue-name': 'team'}
  direct = manifest(tmp_path, *TPU)
  assert 'suspend' not in direct['spec']
  assert 'labels' not in direct['metadata']


def test_spot_machines_are_chosen_and_their_end_is_respected(tmp_path):
  pod = pod_of(manifest(tmp_path, *TPU, '--spot'))
  assert pod['nodeSelector']['cloud.google.com/gke-spot'] == 'true'
  (toleration,) = pod['tolerations']
  assert toleration['key'] == 'cloud.google.com/gke-spot'
  # Google ends them after 25 s, whatever is asked for.
  assert pod['terminationGracePeriodSeconds'] == 25
  pod = pod_of(manifest(tmp_path, *TPU))
  assert 'tolerations' not in pod
  assert pod['terminationGracePeriodSeconds'] == 300


def test_arguments_reach_the_command_as_they_are(tmp_path):
  words = ['train', 'a: "b" \\ #c', "it's", '$(PROCESS) $X', 'yes', '1']
  found = manifest(tmp_path, *TPU, command=words)
  # Kubernetes turns $$( into $( and replaces a plain $(PROCESS).
  assert container_of(found)['args'] == [
      word.replace('$(', '$$(') for word in words
  ]


def test_the_account_is_optional(tmp_path):
  pod = pod_of(manifest(tmp_path, *TPU, '--service_account=trainer'))
  assert pod['serviceAccountName'] == 'trainer'
  assert 'serviceAccountName' not in pod_of(manifest(tmp_path, *TPU))


def test_the_manifest_is_handed_to_kubectl(clone):  # noqa: F811
  clones.write_program(
      clone.parent / 'tools/kubectl', 'echo "kubectl $*"; cat\n'
  )
  code, output, _ = clones.run(clone, SCRIPT, *TPU, *COMMAND)
  assert code == 0
  first, text = output.split('\n', 1)
  assert first == 'kubectl apply -f -'
  assert yaml.safe_load(text) == manifest(clone, *TPU)


@pytest.mark.parametrize(
    ('path', 'value', 'mistake'),
    [
        (('spec', 'maxRestarts'), 3, 'JobSet.spec.maxRestarts is unknown'),
        (
            ('spec', 'suspend'),
            'yes',
            'JobSet.spec.suspend must be of type bool',
        ),
        (('kind',), 'Job', "JobSet.kind must be one of {'JobSet'}"),
        (
            ('spec', 'replicatedJobs', 0, 'template', 'spec', 'completions'),
            '4',
            'JobSet.spec.replicatedJobs[0].template.spec.completions must be of'
            ' type int',
        ),
        (('spec', 'replicatedJobs'), [], 'must be a list with items'),
        (('metadata', 'labels'), {'a': 1}, 'must map strings to strings'),
        (('metadata',), {}, 'JobSet.metadata.name is missing'),
    ],
)
def test_the_schema_finds_mistakes(tmp_path, path, value, mistake):
  found = copy.deepcopy(manifest(tmp_path, *TPU))
  inner = found
  for name in path[:-1]:
    inner = inner[name]
  inner[path[-1]] = value
  (said,) = jobset_schema.mistakes(found)
  assert mistake in said


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ([*TPU, '--topology=16'], "--topology='16' must be a shape of chips"),
        ([*TPU, '--chips=3'], '--chips=3 must divide the 16 chips of'),
        ([*TPU, '--hosts=2'], '--hosts is for GPUs.'),
        ([*GPU, '--slices=2'], '--slices and --topology are for TPUs.'),
        ([*TPU, '--name=My_Run'], "--name='My_Run' must have up to 40 letters"),
        ([*TPU, '--queue=a: b'], "'a: b' must have only letters a-z, digits"),
        ([*GPU, '--gpus=0'], "'0' must be at least 1. Change --chips"),
        (['--image=a', '--name=b'], "'' must have only letters"),
        (['--name=b'], 'Set --image.'),
        ([*TPU, '--workdir=a'], '--workdir=a is not a flag of jobset.sh'),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path, flags, message):
  code, output, errors = clones.run(
      tmp_path, SCRIPT, '--dry_run', *flags, *COMMAND
  )
  assert (code, output) == (1, '')
  assert re.fullmatch(f'{re.escape(message)}.*\n', errors)
