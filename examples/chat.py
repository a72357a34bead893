"""Chat in the terminal with a person known from past dialogues alone.

python examples/chat.py --model runs/dpoc --dialogues dialogues.jsonl --person ruth
"""

from idl_hf.chat.terminal import ChatArguments, chat_in_terminal
from idl_hf.command_line import run

if __name__ == "__main__":
    run(chat_in_terminal, ChatArguments)
