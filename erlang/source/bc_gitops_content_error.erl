%%% @doc Puts into words why content could not be had.
-module(bc_gitops_content_error).

-export([nowhere/2, unwritable/2]).

-import(bc_gitops_words, [text/2]).

-type tried() :: [{Store :: binary(), not_found | {error, {atom(), map()}}}].

%% @doc No store had it. Wrong bytes are told from stores that may answer another time, and both
%% from content that nobody has.
-spec nowhere(Mcid :: binary(), tried()) -> {Kind :: atom(), Details :: map()}.
nowhere(Mcid, []) ->
    {no_content_store, details(Mcid, [],
        "nobody can be asked for ~ts: this node has no module macula_content, and content_stores "
        "names no store; name one there", [Mcid])};
nowhere(Mcid, Tried) ->
    Kinds = lists:usort([kind(Answer) || {_, Answer} <- Tried]),
    IsWrong = lists:member(content_mismatch, Kinds),
    {Kind, Format} = verdict(Kinds -- [not_found, content_mismatch], IsWrong),
    Each = [[Store, ": ", said(Answer)] || {Store, Answer} <- Tried],
    {Kind, details(Mcid, Tried, Format, [Mcid, lists:join("; ", Each)])}.

verdict([], false) ->
    {content_not_found,
     "no store has the content ~ts (~ts); publish it to one of them, or mend the mcid"};
verdict([], true) ->
    {content_mismatch,
     "what is stored as ~ts is not that content (~ts); put the right bytes there"};
verdict(_Others, _) ->
    {content_unavailable, "the content ~ts cannot be had now (~ts)"}.

details(Mcid, Tried, Format, Args) ->
    #{mcid => Mcid, tried => [{Store, kind(Answer)} || {Store, Answer} <- Tried],
      message => text(Format, Args)}.

kind(not_found) -> not_found;
kind({error, {Kind, _}}) -> Kind.

said(not_found) -> <<"does not have it">>;
said({error, {_, #{message := Message}}}) -> Message;
said({error, {Kind, _}}) -> atom_to_binary(Kind).

%% @doc A file of ours that cannot be written.
-spec unwritable(Path :: binary(), file:posix() | badarg | terminated | system_limit) ->
    {unwritable, map()}.
unwritable(Path, Reason) ->
    Message = text("~ts cannot be written: ~ts", [Path, file:format_error(Reason)]),
    {unwritable, #{path => Path, reason => Reason, message => Message}}.
