"""Chat in the terminal with a person known from past dialogues alone.

python examples/chat.py --model runs/dpoc --dialogues dialogues.jsonl --person ruth
"""

from trl import TrlParser

from idl_hf.chat.terminal import ChatArguments, chat_in_terminal

if __name__ == "__main__":
    chat_in_terminal(TrlParser(ChatArguments).parse_args_and_config()[0])
