"""Objects inside a virtual cluster, compared as a whole."""

from kns.objects.inside import build_default_storage_class, build_job_info, build_runtime_class


def test_the_default_storage_class_inside() -> None:
    """It provisions volumes like the host's class. kns makes it the default and copies no other metadata."""
    host = {
        "metadata": {"name": "jarvice-user", "uid": "u", "annotations": {"secret": "x"}, "resourceVersion": "5"},
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": {"a": "b"},
    }
    assert build_default_storage_class(host) == {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "jarvice-user",
            "labels": {"app.kubernetes.io/managed-by": "kns"},
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": {"a": "b"},
    }


def test_runtime_class_inside() -> None:
    host = {"metadata": {"name": "nvidia", "uid": "u"}, "handler": "nvidia", "overhead": {"podFixed": {"cpu": "1"}}}
    assert build_runtime_class(host) == {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "nvidia", "labels": {"app.kubernetes.io/managed-by": "kns"}},
        "handler": "nvidia",
        "overhead": {"podFixed": {"cpu": "1"}},
    }


def test_job_info() -> None:
    config, secret = build_job_info("lab", public={"KNS_JOB_NUMBER": "7"}, secret={"KNS_JOB_PASSWORD": "p"})
    place = {"name": "kns-job", "namespace": "lab", "labels": {"app.kubernetes.io/managed-by": "kns"}}
    assert (config["kind"], config["metadata"], config["data"]) == ("ConfigMap", place, {"KNS_JOB_NUMBER": "7"})
    assert (secret["kind"], secret["metadata"], secret["stringData"]) == ("Secret", place, {"KNS_JOB_PASSWORD": "p"})
