"""Files that somebody may name by mistake, and those that look odd and are keepalived's all the same."""

from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.keepalived_conf import ConfError
from cluster.not_keepalived import refuse

SECRET = "hunter2"


def complaint(text: str) -> str:
    with pytest.raises(ConfError) as caught:
        refuse(text, "some.file")
    assert caught.value.exit_code is Exit.INVALID
    assert "/etc/keepalived/keepalived.conf" in caught.value.cure
    place, _, why = caught.value.message.partition(": this is no keepalived.conf: ")
    assert SECRET not in str(caught.value)
    return f"{place.removeprefix('some.file:')} {why}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!DOCTYPE html>\n<html>", '1 it begins with "<!DOCTYPE"'),
        ("\n\n  <html lang='en'><body>", '3 it begins with "<html"'),
        ('<?xml version="1.0"?>', '1 it begins with "<?xml"'),
        # The page has what keepalived knows, further down.
        ("<html>\n<pre>\nvirtual_server 10.0.0.10 3306 {\n}\n", '1 it begins with "<html"'),
        ("# A how-to\n\nIn this how-to:\n\nglobal_defs {\n}\n", "3 what begins here is nothing of keepalived's"),
        ('# lab\nname = "shop"\n', '2 it begins with "name"'),
        ("[client]\npassword=hunter2\n", '1 it begins with "[client]"'),
        ("[[inputs.ping]]\n", '1 it begins with "[[inputs.ping]]"'),
        ("---\nall:\n", '1 it begins with "---"'),
        ("all:\n  vars:\n    password: hunter2\n", '1 it begins with "all"'),
        ("password: hunter2", '1 it begins with "password"'),
        ("password = hunter2", '1 it begins with "password"'),
        ("MYSQL_PASSWORD=hunter2", '1 it begins with "MYSQL_PASSWORD"'),
        ('{"password": "hunter2"}', '1 it begins with "{"'),
        ("{\n", '1 it begins with "{"'),
        ('[{"password": "hunter2"}]', '1 it begins with "["'),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", '1 it begins with "-----BEGIN"'),
        ("upstream db {\n  server 10.0.0.1;\n}\n", '1 it begins with "upstream"'),
        ("", "1 it is empty"),
        (" \n", "1 it is empty"),
        ("# nothing\n! yet\n", "1 there is nothing in it but comments"),
        ("\x7fELF\x02\0\0", "1 it is no text, or not in UTF-8"),
        ("global_defs {\n\0}\n", "2 it is no text, or not in UTF-8"),
        ("global_defs {\n}\n".encode("utf-16").decode("utf-8", "replace"), "1 it is no text, or not in UTF-8"),
        ("\x1f\ufffd\x08hunter2", "1 what begins here is nothing of keepalived's"),
    ],
)
def test_it_is_said_where_and_by_what(text: str, says: str) -> None:
    assert complaint(text) == says


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "hunter2\n",
        "hunter2 and more",
        "user:hunter2",
        "hunter2:user",
        "hunter2=",
        "aHVudGVyMg==hunter2",
        "mysql://root:hunter2@db1/",
        "*:3306:shop:hunter2",
        "export PASSWORD=hunter2",
        '"hunter2"',
        "<hunter2>",
        "[hunter2]",
        "{hunter2}",
        "-----hunter2",
        "$ hunter2",
        "@hunter2",
        "ssh-ed25519 AAAAhunter2",
        "hunter2 {",
    ],
)
def test_nothing_is_shown_that_could_be_a_secret(text: str) -> None:
    assert complaint(text) == "1 what begins here is nothing of keepalived's"


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parent / "imported").rglob("*.conf")), ids=lambda path: path.name
)
def test_what_is_keepalived_s_is_taken(file: Path) -> None:
    refuse(file.read_text(), file.name)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffglobal_defs {\n}",
        "! caf\ufffd\nglobal_defs {\n}",
        "global_defs\n{\n}\r\n",
        "vrrp_instance VI_1 { virtual_router_id 1 }",
        "@lb1 vrrp_instance a {\n}\n",
        "$VI=vrrp_instance\n$VI a {\n}\n",
        "include conf.d/*.conf",
        "}\nvirtual_server 10.0.0.10 3306 {\n}\n",
        "linkbeat_interfaces {\n eth0\n}\nvrrp_instance a {\n}\n",
        "random_seed 7\nvrrp_instance a {\n}\n",
        "Global_defs {\n}\nvrrp_instance a {\n}\n",
    ],
)
def test_what_looks_odd_is_the_parser_s(text: str) -> None:
    refuse(text, "keepalived.conf")
