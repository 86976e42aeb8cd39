%%% @doc Release sources: an archive (tar, tar.gz) that somebody built, by its url and its SHA-256.
%%%
%%% What was received is compared with the digest before anything of it is unpacked, and the digest is
%%% the revision: an archive that was used before needs no network, and a download that was given up
%%% goes on the next time. One without a digest is refused, unless `allow_unverified_releases' says
%%% otherwise; then it is asked for each time.
-module(bc_gitops_source_release).
-behaviour(bc_gitops_source).

-include("bc_gitops.hrl").

-export([type/0, resolve/2, fetch/5]).

-define(TIMEOUT, 600000).

-spec type() -> release.
type() -> release.

-spec resolve(#source_spec{}, bc_gitops_source:options()) ->
    bc_gitops_source:known() | {error, {atom(), map()}}.
resolve(#source_spec{url = Url}, _Options) when not is_binary(Url) ->
    {error, {bad_url, #{message => <<"a release source needs the url of its archive">>}}};
resolve(#source_spec{sha256 = undefined, url = Url}, _Options) ->
    case bc_gitops_config:current() of
        #{allow_unverified_releases := true} -> unknown;
        _ -> {error, {sha256_missing, #{url => shown(Url), message => missing(Url)}}}
    end;
resolve(#source_spec{sha256 = Sha256}, _Options) ->
    case bc_gitops_source:sha256(Sha256) of
        {ok, Digest} -> {ok, #{revision => Digest}};
        error -> {error, {bad_sha256, #{message =>
            <<"sha256 is neither 64 hexadecimal digits nor 32 bytes in base64">>}}}
    end.

missing(Url) ->
    Text = io_lib:format("the release at ~ts has no sha256 in its spec; write it there (sha256sum FILE), or set "
                         "allow_unverified_releases", [shown(Url)]),
    unicode:characters_to_binary(Text).

%% @doc Downloads and unpacks. The time that is left is for both.
-spec fetch(atom(), #source_spec{}, bc_gitops_source:known(), Dir :: binary(),
            bc_gitops_source:options()) ->
    {ok, bc_gitops_source:fetched()} | {error, {atom(), map()}}.
fetch(_App, #source_spec{url = Url}, Known, Dir, Options) ->
    Archive = <<Dir/binary, ".archive">>,
    %% What cannot be made is told by the download.
    _ = filelib:ensure_dir(Archive),
    Until = erlang:monotonic_time(millisecond) + timeout(Options),
    case download(Url, Known, Archive, Until, Options) of
        {ok, #{sha256 := Digest}} ->
            Unpacked = unpack(Archive, Dir, Until, Options),
            _ = file:delete(Archive),
            fetched(Unpacked, Digest, Url);
        {error, _} = Error ->
            Error
    end.

timeout(#{timeout := infinity}) -> ?TIMEOUT;
timeout(#{timeout := Timeout}) -> Timeout.

fetched({ok, _}, Digest, _Url) ->
    {ok, #{revision => bc_gitops_source:hex(Digest), tool => release}};
fetched({error, {Kind, #{message := Message} = Details}}, _Digest, Url) ->
    Entry = case Details of
        #{entry := Name} -> [": ", Name];
        _ -> ""
    end,
    Text = io_lib:format("the release at ~ts was not unpacked: ~ts~ts", [shown(Url), Message, Entry]),
    {error, {Kind, Details#{url => shown(Url), message => unicode:characters_to_binary(Text)}}}.

download(Url, Known, Archive, Until, Options) ->
    #{auth := Auth} = bc_gitops_source:access(Options),
    Common = #{url => Url, path => Archive, auth => Auth, timeout => left(Until)},
    Request = maps:merge(Common, expected(Known, Options)),
    Answer = run(fun(Pid, Ref) -> bc_gitops_native:download_start(Request, Pid, Ref) end,
                 Until, download, Options),
    _ = [ok = bc_gitops_content_cache:trim(Dir) || #{unfinished := Dir} <- [Options]],
    case Answer of
        {error, {Kind, #{message := Message} = Details}} ->
            Text = io_lib:format("the release at ~ts was not downloaded: ~ts~ts",
                                 [shown(Url), Message, digests(Details)]),
            {error, {Kind, Details#{message => unicode:characters_to_binary(Text)}}};
        {ok, _} = Ok ->
            Ok
    end.

expected({ok, #{revision := Revision}}, Options) ->
    Digest = <<(binary_to_integer(Revision, 16)):256>>,
    case Options of
        #{unfinished := Dir} -> #{sha256 => Digest, unfinished => filename:join(Dir, Revision)};
        #{} -> #{sha256 => Digest}
    end;
expected(unknown, _Options) ->
    #{}.

digests(#{expected := Expected, found := Found}) ->
    io_lib:format(" (expected ~ts, found ~ts)", [Expected, Found]);
digests(_Details) ->
    "".

unpack(Archive, Dir, Until, Options) ->
    Request = #{archive => Archive, path => Dir, timeout => left(Until)},
    run(fun(Pid, Ref) -> bc_gitops_native:unpack_start(Request, Pid, Ref) end, Until, unpack, Options).

run(Start, Until, Step, Options) ->
    Tell = maps:get(on_progress, Options, fun(_) -> ok end),
    bc_gitops_job:run(Start, left(Until), fun(Progress) -> Tell(Progress#{step => Step}) end).

left(Until) ->
    max(1, Until - erlang:monotonic_time(millisecond)).

%% A query may hold a signature.
shown(Url) ->
    hd(binary:split(bc_gitops_config:public_url(Url), [<<"?">>, <<"#">>])).
