"""The XMP packet by which photo tools, search engines and archives recognise a generated image.

Properties are those of the IPTC Photo Metadata Standard 2025.1: `DigitalSourceType` and the `AI...` group.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from earthgen.output.provenance import SYNTHETIC_MARK, Provenance

_NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold: control characters, lone surrogates, U+FFFE and U+FFFF."""

for _prefix, _uri in _NAMESPACES.items():
    ET.register_namespace(_prefix, _uri)  # readers that match text want the customary prefixes


def xmp_packet(provenance: Provenance) -> str:
    """The packet as text, with its `xpacket` frame; some 10 kB at most, as a prompt has at most 2,000 characters."""
    root = ET.Element(_name("x", "xmpmeta"))
    rdf = ET.SubElement(root, _name("rdf", "RDF"))
    about = ET.SubElement(rdf, _name("rdf", "Description"), {_name("rdf", "about"): ""})
    values = {
        ("xmp", "CreatorTool"): f"earthgen {provenance.version}",
        ("xmp", "CreateDate"): provenance.created.isoformat(timespec="seconds"),
        ("Iptc4xmpExt", "DigitalSourceType"): provenance.digital_source_type,
        ("Iptc4xmpExt", "AISystemUsed"): f"earthgen ({provenance.model})",
        ("Iptc4xmpExt", "AISystemVersionUsed"): provenance.version,
        ("Iptc4xmpExt", "AIPromptInformation"): provenance.prompt,
    }
    for (prefix, name), value in values.items():
        if value:
            ET.SubElement(about, _name(prefix, name)).text = _NOT_XML.sub(" ", value)
    languages = ET.SubElement(ET.SubElement(about, _name("dc", "description")), _name("rdf", "Alt"))
    default = {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"}
    ET.SubElement(languages, _name("rdf", "li"), default).text = SYNTHETIC_MARK
    body = ET.tostring(root, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="r"?>'


def _name(prefix: str, name: str) -> str:
    return f"{{{_NAMESPACES[prefix]}}}{name}"
