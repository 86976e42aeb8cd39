%%% @doc Real git repositories for tests, made with the system's git.
-module(bct_repo).
-export([init/1, init_bare/1, commit/2, commit/3, commit_to/4, remove/2, tag/2, branch/2, head/1, url/1, git/2]).

%% @doc A repository with a work tree and the branch main.
init(Dir) ->
    ok = filelib:ensure_path(Dir),
    _ = git(Dir, ["init", "-q", "-b", "main"]),
    Dir.

init_bare(Dir) ->
    ok = filelib:ensure_path(Dir),
    _ = git(Dir, ["init", "-q", "--bare", "-b", "main"]),
    Dir.

%% @doc Writes the files `[{RelativePath, Content}]' and commits everything; answers the commit id.
commit(Dir, Files) ->
    commit(Dir, Files, "change").

commit(Dir, Files, Message) ->
    lists:foreach(
        fun({Path, Content}) ->
            File = filename:join(Dir, Path),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, Content)
        end,
        Files
    ),
    _ = git(Dir, ["add", "-A"]),
    _ = git(Dir, ["commit", "-q", "--allow-empty", "-m", Message]),
    head(Dir).

%% @doc Commits in Dir and pushes to the branch of the (bare) repository Remote.
commit_to(Dir, Remote, Branch, Files) ->
    Commit = commit(Dir, Files),
    _ = git(Dir, ["push", "-q", "--force", Remote, "HEAD:refs/heads/" ++ Branch]),
    Commit.

%% @doc Removes paths and commits.
remove(Dir, Paths) ->
    _ = git(Dir, ["rm", "-r", "-q"] ++ Paths),
    _ = git(Dir, ["commit", "-q", "-m", "remove"]),
    head(Dir).

tag(Dir, Tag) ->
    _ = git(Dir, ["tag", "-a", Tag, "-m", Tag]),
    ok.

branch(Dir, Name) ->
    _ = git(Dir, ["checkout", "-q", "-B", Name]),
    ok.

head(Dir) ->
    string:trim(git(Dir, ["rev-parse", "HEAD"])).

url(Dir) ->
    iolist_to_binary(["file://", Dir]).

%% @doc Runs git in Dir and answers what it prints; any failure is an error with its output.
git(Dir, Args) ->
    Port = open_port(
        {spawn_executable, os:find_executable("git")},
        [binary, exit_status, stderr_to_stdout, hide, {cd, Dir}, {args, Args}, {env, [
            {"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_CONFIG_NOSYSTEM", "1"},
            {"GIT_AUTHOR_NAME", "Tess Tester"}, {"GIT_AUTHOR_EMAIL", "tess@example.org"},
            {"GIT_COMMITTER_NAME", "Tess Tester"}, {"GIT_COMMITTER_EMAIL", "tess@example.org"},
            {"GIT_ALLOW_PROTOCOL", "file:http:https:ssh"}, {"GIT_CONFIG_COUNT", "1"},
            {"GIT_CONFIG_KEY_0", "protocol.file.allow"}, {"GIT_CONFIG_VALUE_0", "always"}
        ]}]
    ),
    collect(Port, Args, <<>>).

collect(Port, Args, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, Args, <<Output/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> Output;
        {Port, {exit_status, Status}} -> error({git_failed, Args, Status, Output})
    end.
