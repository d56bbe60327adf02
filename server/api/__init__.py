"""The routes beside the answering of chats: for the page, for programs, for administrators and for the trainer."""
