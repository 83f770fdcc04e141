"""What worlds of customer service share: people, speech, the scripted customer, tools of every desk."""
