/* What may be done with one conversation: chosen before it begins or later, sent with each message, and kept until the record has it. */
(() => {
  const R = window.ruminate;
  const NEW = "ruminate-new-consent"; // of the conversation that is not begun; like its draft it outlives a reload

  let unsaved = {}; // opt-outs that the record has not shown yet, by conversation; other tabs have some too
  const read = () => { try { unsaved = JSON.parse(R.recall("opt-outs", JSON.stringify(unsaved))); } catch { /* written by something else */ } };
  read();
  let now = {}; // by conversation: "" as the account
  R.forgets.push(() => { unsaved = {}; now = { "": "" }; R.remember("opt-outs", "{}"); });
  try { now[""] = sessionStorage.getItem(NEW) ?? ""; } catch { now[""] = ""; }

  function keepNew(consent) {
    now[""] = consent;
    try { sessionStorage.setItem(NEW, consent); } catch { /* forbidden: a reload forgets it, and the box shows that */ }
  }
  function note(conversation, consent) {
    read();
    if (consent) unsaved[conversation] = consent;
    else delete unsaved[conversation];
    R.remember("opt-outs", JSON.stringify(unsaved));
  }
  function tell(conversation, consent) {
    now[conversation] = consent;
    note(conversation, consent);
    R.send("act", { do: "chat_consent", conversation, consent: consent || null });
  }

  R.chatConsent = () => now[R.place()] ?? unsaved[R.place()] ?? "";
  R.setChatConsent = (consent) => {
    if (R.place()) tell(R.place(), consent);
    else keepNew(consent);
    R.drawTrust();
  };
  R.consentAdopted = (conversation) => {
    if (now[""]) tell(conversation, now[""]);
    else now[conversation] = "";
    keepNew("");
  };

  R.on("transcript", (value) => {
    const place = R.place();
    if (place && value.keep === 0 && !value.failed) {
      read();
      const kept = unsaved[place];
      if (kept && kept !== value.consent) tell(place, kept);
      else { now[place] = value.consent; note(place, ""); }
    }
    R.drawTrust?.();
  });
})();
