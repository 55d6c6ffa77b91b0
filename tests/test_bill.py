"""The licences of all locked packages are listed, and the bill of materials has each with its hashes."""

import json
import re
import uuid

import bill
import pytest
from test_lock import pins

import hf_mner_aug


def test_the_list_has_each_package_of_the_lock_and_no_other():
    listed = {(name, version) for name, version in bill.read_table()}
    locked = {(name, str(version)) for name, versions in pins("dev").items() for version in versions}
    assert listed == locked, "after a change of locks: make licences"
    assert all(re.search(r"[A-Za-z]", licence) for licence in bill.read_table().values())


def test_the_list_says_what_the_metadata_say():
    found = bill.read_table()
    by_name = {name: licence for (name, _), licence in found.items()}
    assert by_name["datasets"] == "Apache 2.0"
    assert by_name["pillow"] == "MIT-CMU"
    assert by_name["kiwisolver"] == "BSD License", "its metadata hold the whole text: the classifier is shorter"


class Package:
    def __init__(self, **metadata):
        self.metadata = self
        self._fields = metadata

    def get(self, name):
        return self._fields.get(name.replace("-", "_"))

    def get_all(self, name):
        return self._fields.get(name)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"License_Expression": "MIT", "License": "The MIT License"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache 2.0"),
        ({"License": "UNKNOWN", "Classifier": ["License :: OSI Approved :: MIT License"]}, "MIT License"),
        ({"License": "BSD\n\nRedistribution …", "Classifier": ["License :: OSI Approved :: BSD"]}, "BSD"),
        ({"License": "The MIT License (MIT)\n\nPermission …"}, "The MIT License (MIT)"),
        ({"Classifier": ["Topic :: Text"]}, ""),
    ],
)
def test_a_licence_is_read_from_metadata(metadata, licence):
    assert bill.licence_of(Package(**metadata)) == licence


def test_the_bill_of_materials_has_all_packages_and_the_same_bytes_each_time():
    made = bill.bill(hf_mner_aug.__version__)
    assert json.dumps(made) == json.dumps(bill.bill(hf_mner_aug.__version__))
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(made["serialNumber"].removeprefix("urn:uuid:")).version == 5
    components = {one["bom-ref"]: one for one in made["components"]}
    assert len(components) == len(made["components"]) == len(bill.read_table())
    assert {one["name"] for one in components.values() if one["scope"] == "required"} == pins("core").keys()
    for one in components.values():
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["hashes"]
        assert all(len(each["content"]) == 64 for each in one["hashes"])
        assert one["licenses"][0]["license"]["name"]
