"""The two descriptions of a cluster, checked as far as that goes without one."""

import copy
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

SECRET = re.compile(
    r"AKIA|ASIA|BEGIN [A-Z ]*PRIVATE KEY|hf_\w{20}|\b[0-9a-f]{32,}\b|(password|secret_?key)\s*[:=]", re.IGNORECASE
)


@pytest.fixture
def aws(project: Path) -> dict[str, Any]:
    """What Ray's cluster launcher makes of cluster.yaml."""
    content: dict[str, Any] = prepare_config(yaml.safe_load((project / "cluster.yaml").read_text()))
    return content


@pytest.fixture
def kubernetes(project: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((project / "kuberay.yaml").read_text())
    return content


@pytest.fixture
def ray_version(project: Path) -> str:
    return re.search(r"^ray==(\S+)$", (project / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]


def test_rays_own_schema_accepts_the_cluster_and_not_a_misspelt_one(aws: dict[str, Any]) -> None:
    validate_config(aws)
    wrong = copy.deepcopy(aws)
    wrong["available_node_types"]["cpu"]["min_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        validate_config(wrong)


def test_workers_are_spot_and_cost_nothing_while_there_is_no_work(aws: dict[str, Any]) -> None:
    groups = aws["available_node_types"]
    assert aws["head_node_type"] == "head"
    assert groups["head"]["resources"] == {"CPU": 0}
    for name in ("cpu", "gpu"):
        assert groups[name]["min_workers"] == 0
        assert groups[name]["max_workers"] > 0
        assert groups[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in groups["head"]["node_config"]
    assert aws["max_workers"] >= sum(groups[name]["max_workers"] for name in ("cpu", "gpu"))
    assert not aws["provider"]["cache_stopped_nodes"]


def test_the_cluster_asks_for_the_token_and_its_dashboard_hears_its_own_machine_only(aws: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in aws["docker"]["run_options"]
    (path,) = (remote for remote, local in aws["file_mounts"].items() if local == "~/.ray/auth_token")
    assert f"--env RAY_AUTH_TOKEN_PATH={path.replace('~', '/home/ray')}" in aws["docker"]["run_options"]
    assert "--dashboard-host=127.0.0.1" in aws["head_start_ray_commands"][-1]
    (rule,) = aws["provider"]["security_group"]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
    assert all(each["CidrIp"].endswith("/32") for each in rule["IpRanges"])


def test_disks_are_encrypted_and_gone_with_their_node(aws: dict[str, Any]) -> None:
    for group in aws["available_node_types"].values():
        for disk in group["node_config"]["BlockDeviceMappings"]:
            assert disk["Ebs"]["Encrypted"]
            assert disk["Ebs"]["DeleteOnTermination"]
        assert group["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


def test_nodes_install_what_the_package_stands_on(aws: dict[str, Any], project: Path, tmp_path: Path) -> None:
    command = aws["setup_commands"][0]
    assert command == aws["available_node_types"]["gpu"]["worker_setup_commands"][0]
    mounts = {local: remote.replace("~", str(tmp_path)) for remote, local in aws["file_mounts"].items()}
    target = Path(mounts["pyproject.toml"])
    target.parent.mkdir()
    target.write_text((project / "pyproject.toml").read_text())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], env={"HOME": str(tmp_path), "PATH": path}, check=True)
    dependencies = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    assert (tmp_path / "requirements.txt").read_text().splitlines() == dependencies


def test_the_image_has_the_ray_of_the_constraints(
    aws: dict[str, Any], kubernetes: dict[str, Any], ray_version: str, project: Path
) -> None:
    images = [aws["docker"]["image"], aws["available_node_types"]["gpu"]["docker"]["worker_image"]]
    images += re.findall(r"rayproject/\S+?(?=[`\s])", (project / "docs" / "cluster.md").read_text())
    assert len(images) == 4
    assert all(re.fullmatch(rf"rayproject/ray:{re.escape(ray_version)}-py311-[cg]pu", image) for image in images)
    assert kubernetes["spec"]["rayClusterSpec"]["rayVersion"] == ray_version


def test_kubernetes_runs_a_job_of_this_folder_under_a_token(kubernetes: dict[str, Any], project: Path) -> None:
    assert (kubernetes["apiVersion"], kubernetes["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = kubernetes["spec"], kubernetes["spec"]["rayClusterSpec"]
    program, job, experiment = spec["entrypoint"].split()[:3]
    assert program == "python"
    assert (project / job).exists()
    assert (project / experiment).exists()
    environment = yaml.safe_load((project / "jobs" / "runtime_env.yaml").read_text())
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"] == environment["env_vars"]
    assert spec["shutdownAfterJobFinishes"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert groups["cpu"]["minReplicas"] == 0
    for group in groups.values():
        (container,) = group["template"]["spec"]["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (group["groupName"] == "gpu")
        assert container["resources"]["limits"] == container["resources"]["requests"]


@pytest.mark.parametrize("name", ["cluster.yaml", "kuberay.yaml", "jobs/runtime_env.yaml"])
def test_nothing_in_a_description_is_a_secret(project: Path, name: str) -> None:
    assert not SECRET.search((project / name).read_text())
