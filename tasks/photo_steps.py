"""The steps of a photo as tasks; `selfiegate.enrolment.sequence` has their order."""

from __future__ import annotations

from selfiegate.enrolment import profiles, protocol, search, uploads, verdicts
from tasks.steps import task_of

claim_photo = task_of(protocol.claim_photo, "claim {photo.name}")
wait_for_removal = task_of(uploads.wait_for_removal, "wait for what replaced {claim.photo.name}")
judge_photo = task_of(protocol.judge_photo, "judge {photo.name}")
search_gallery = task_of(search.search_gallery, "search gallery for {claim.photo.name}")
enrol_face = task_of(protocol.enrol_face, "enrol face of {claim.photo.name}")
make_thumbnails = task_of(protocol.make_thumbnails, "make thumbnails of {claim.photo.name}")
confirm_enrolment = task_of(protocol.confirm_enrolment, "confirm enrolment of {claim.photo.name}")
saved_profile = task_of(profiles.saved_profile, "look for the profile of {claim.photo.name}")
save_profile = task_of(profiles.save_profile, "save profile for {claim.photo.name}")
remove_older_photo = task_of(profiles.remove_older_photo, "remove the photo older than {claim.photo.name}")
accept = task_of(verdicts.accept, "accept {claim.photo.name}")
refuse = task_of(verdicts.refuse, "refuse {claim.photo.name}")
withdraw = task_of(protocol.withdraw, "withdraw {claim.photo.name}")
notify_user = task_of(verdicts.notify_user, "notify the user about {claim.photo.name}")
