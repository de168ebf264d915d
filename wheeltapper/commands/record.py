"""`wheeltapper record`: send a live microphone, or PCM from another program, to the audio topic."""

from __future__ import annotations

import argparse

from wheeltapper.command_line import RawFormatter

EPILOG = """
examples:
  wheeltapper record --list
  wheeltapper record --machine fan-1 --device 2 --rate 16000
  arecord -D hw:1 -f S16_LE -r 16000 -c 1 -t raw | wheeltapper record --machine fan-1 --stdin --rate 16000
  ffmpeg -loglevel error -i rtsp://camera/stream -f s16le -ac 1 -ar 16000 - | wheeltapper record --machine fan-1 --stdin --rate 16000

Samples are stamped by the sample clock: the clock of this machine at the first sample, then by their number. Where both differ by
more than 0.2 s, because samples were lost, the stamp is set anew and a line says so.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.kafka_arguments import add_kafka_arguments, add_prefix_argument

    parser.epilog = EPILOG
    parser.formatter_class = RawFormatter
    add_kafka_arguments(parser)
    add_prefix_argument(parser)
    parser.add_argument("--list", action="store_true", help="list the sound devices and stop")
    parser.add_argument("--machine", metavar="ID", help="machine id, also the key of every message")
    parser.add_argument("--microphone", default="", metavar="NAME", help="microphone, where a machine has several")
    parser.add_argument("--topic", help="topic to send to (default: the audio topic of the settings)")
    parser.add_argument("--device", metavar="D", help="number or name of the sound device (default: the system's)")
    parser.add_argument("--stdin", action="store_true", help="read raw little-endian int16 PCM from standard input")
    parser.add_argument("--rate", type=int, default=16_000, metavar="HZ", help="samples a second")
    parser.add_argument("--channels", type=int, default=1, metavar="N", help="channels, interleaved")
    parser.add_argument("--chunk-s", type=float, default=1.0, metavar="S", help="seconds of sound in one message")
    parser.add_argument(
        "--pcm", choices=("int16", "float32", "flac"), default="int16", help="how the samples of a message are written"
    )
    parser.add_argument("--encoding", choices=("avro", "arrow"), default="avro", help="encoding of the messages")
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="operating point of every message, e.g. speed=1500; may be given several times",
    )
    parser.add_argument("--limit-s", type=float, metavar="S", help="stop after S seconds (default: on Ctrl-C)")


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError: a bad option, no such device, no Kafka, or a message that it refuses."""
    from wheeltapper.sound.record import list_devices, record

    if arguments.list:
        list_devices()
        return 0
    return record(arguments)
