"""TwitterAPI: one account that posts, comments, follows."""

from __future__ import annotations

from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal

LEFT_OUT: Any = object()


class TwitterAPI(Backend):
    """The account's tweets by number; what is done to tweets goes under the account's own name."""

    username: str
    password: str
    authenticated: bool
    tweets: dict[int, dict[str, Any]]
    comments: dict[Any, list[dict[str, str]]]
    retweets: dict[str, list[int]]
    following_list: list[str]
    tweet_counter: int

    def _start(self, config: dict[str, Any]) -> None:
        self.username = config.get("username", "john")
        self.password = config.get("password", "john123")
        self.authenticated = config.get("authenticated", False)
        self.tweets = {int(number): tweet for number, tweet in config.get("tweets", {}).items()}
        self.comments = config.get("comments", {})
        self.retweets = config.get("retweets", {})
        self.following_list = config.get("following_list", ["alice", "bob"])
        self.tweet_counter = config.get("tweet_counter", 0)
        self._no_tags: list[str] = []
        self._no_mentions: list[str] = []

    def _unknown(self, tweet_id: int) -> Answer:
        return refusal(f"Tweet with ID {tweet_id} not found.")

    def _stranger(self, doing: str) -> Answer:
        return refusal(f"User not authenticated. Please authenticate before {doing}.")

    # -- the account -----------------------------------------------------------------------------------------

    def authenticate_twitter(self, username: str, password: str) -> Answer:
        """Log in. A wrong password does not log out."""
        right = username == self.username and password == self.password
        if right:
            self.authenticated = True
        return {"authentication_status": bool(right)}

    def posting_get_login_status(self) -> Answer:
        """Whether the account is logged in."""
        return {"login_status": bool(self.authenticated)}

    def follow_user(self, username_to_follow: str) -> Answer:
        """Follow a user, whoever that is."""
        if not self.authenticated:
            return self._stranger("following")
        if username_to_follow in self.following_list:
            return {"follow_status": False}
        self.following_list.append(username_to_follow)
        return {"follow_status": True}

    def list_all_following(self) -> Answer:
        """Whom the account follows."""
        if not self.authenticated:
            return self._stranger("listing following")
        return {"following_list": self.following_list}

    def unfollow_user(self, username_to_unfollow: str) -> Answer:
        """Follow a user no longer."""
        if not self.authenticated:
            return self._stranger("unfollowing")
        if username_to_unfollow not in self.following_list:
            return {"unfollow_status": False}
        self.following_list.remove(username_to_unfollow)
        return {"unfollow_status": True}

    # -- tweets ----------------------------------------------------------------------------------------------

    def post_tweet(self, content: str, tags: list[str] = LEFT_OUT, mentions: list[str] = LEFT_OUT) -> Answer:
        """Post a tweet.

        All tweets posted without mentions share one list of them, so that mentioning somebody in one of these
        shows in all: a fault of the official simulator that states and results depend on.
        """
        if not self.authenticated:
            return self._stranger("posting")
        tweet = {
            "id": self.tweet_counter,
            "username": self.username,
            "content": content,
            "tags": self._no_tags if tags is LEFT_OUT else tags,
            "mentions": self._no_mentions if mentions is LEFT_OUT else mentions,
        }
        self.tweets[self.tweet_counter] = tweet
        self.tweet_counter += 1
        return tweet

    def retweet(self, tweet_id: int) -> Answer:
        """Retweet a tweet once."""
        if not self.authenticated:
            return self._stranger("retweeting")
        if tweet_id not in self.tweets:
            return self._unknown(tweet_id)
        own = self.retweets.setdefault(self.username, [])
        if tweet_id in own:
            return {"retweet_status": "Already retweeted"}
        own.append(tweet_id)
        return {"retweet_status": "Successfully retweeted"}

    def comment(self, tweet_id: int, comment_content: str) -> Answer:
        """Comment on a tweet."""
        if not self.authenticated:
            return self._stranger("commenting")
        if tweet_id not in self.tweets:
            return self._unknown(tweet_id)
        self.comments.setdefault(tweet_id, []).append({"username": self.username, "content": comment_content})
        return {"comment_status": "Comment added successfully"}

    def mention(self, tweet_id: int, mentioned_usernames: list[str]) -> Answer:
        """Add users to those a tweet mentions; nobody has to be logged in."""
        if tweet_id not in self.tweets:
            return self._unknown(tweet_id)
        self.tweets[tweet_id]["mentions"].extend(mentioned_usernames)
        return {"mention_status": "Users mentioned successfully"}

    # -- reading ---------------------------------------------------------------------------------------------

    def get_tweet(self, tweet_id: int) -> Answer:
        """One tweet."""
        return self.tweets[tweet_id] if tweet_id in self.tweets else self._unknown(tweet_id)

    def get_user_tweets(self, username: str) -> Answer:
        """All tweets of a user."""
        return [tweet for tweet in self.tweets.values() if tweet["username"] == username]

    def search_tweets(self, keyword: str) -> Answer:
        """Tweets whose text contains the keyword or that bear it as a whole tag, in any case."""
        return [
            tweet
            for tweet in self.tweets.values()
            if keyword.lower() in tweet["content"].lower()
            or keyword.lower() in [tag.lower() for tag in tweet["tags"]]
        ]

    def get_tweet_comments(self, tweet_id: int) -> Answer:
        """Comments on a tweet."""
        return self.comments.get(tweet_id, []) if tweet_id in self.tweets else self._unknown(tweet_id)

    def get_user_stats(self, username: str) -> Answer:
        """Counts of a user's tweets, retweets and, for the account itself, followed users."""
        return {
            "tweet_count": sum(tweet["username"] == username for tweet in self.tweets.values()),
            "following_count": len(self.following_list) if username == self.username else 0,
            "retweet_count": len(self.retweets.get(username, [])),
        }
